package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"testing"

	"github.com/coder/websocket"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// TestTLSTransports: what comes in by TLS reaches who came in by WebSocket over TLS, on either side of a move to another shard, in both
// versions; ALPN or the first bytes tell MQTT from HTTP on one port.
func TestTLSTransports(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured())
	far := r.connectTLSWS("far", r.ws)
	far.subscribe(1, "up/#")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for shard := range 2 {
			for name, addr := range map[string]string{"mqtts": r.mqtt, "tls": r.any} {
				for _, alpn := range [][]string{nil, {alpnMQTT}} {
					id := r.ids(fmt.Sprintf("%s-%x-%d", name, version, len(alpn)), shard, 1)[0]
					c := r.mustTLS(addr, a.client(func(c *tls.Config) { c.MinVersion, c.MaxVersion, c.NextProtos = version, version, alpn }))
					r.connectOn(c, id)
					c.publish(1, "up/"+id, "by "+id)
					far.gets("up/"+id, "by "+id)
					if p := r.whoIs(id).tls; p == nil || len(alpn) > 0 && p.Protocol != alpnMQTT || p.User != "" {
						t.Errorf("%s is taken for %+v", id, p)
					}
					c.disconnect()
				}
			}
		}
	}
	for _, alpn := range [][]string{nil, {alpnHTTP}} {
		c := r.connectTLSWS(fmt.Sprint("one-port-", len(alpn)), r.any, alpn...)
		c.publish(0, "up/ws", "framed")
		far.gets("up/ws", "framed")
	}
	if n := r.sum().loop.Handshakes; n != 2*2*2*2+3 {
		t.Errorf("%d handshakes", n)
	}
}

// connectTLSWS is an MQTT client in WebSocket frames over TLS.
func (r *rig) connectTLSWS(id, addr string, alpn ...string) *client {
	r.t.Helper()
	c := r.mustTLS(addr, &tls.Config{InsecureSkipVerify: true, NextProtos: alpn}) //nolint:gosec // who the gateway is others ask
	c.framed = true
	c.write(ws.AppendHandshake(nil, addr, "/mqtt", "mqtt", testKey))
	if status := c.handshaken("mqtt"); status != 101 {
		r.t.Fatalf("handshake: %d", status)
	}
	r.connectOn(c, id)
	return c
}

// TestTLSRealWebSocket: net/http and coder/websocket speak wss to us.
func TestTLSRealWebSocket(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured())
	ctx, cancel := patient()
	defer cancel()
	transport := &http.Transport{TLSClientConfig: a.client()}
	defer transport.CloseIdleConnections()
	c, _, err := websocket.Dial(ctx, "wss://"+r.ws+"/echo", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	big := string(make([]byte, 100_000))
	for _, text := range []string{"hello", big} {
		if err := c.Write(context.Background(), websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		c.SetReadLimit(1 << 20)
		if _, got := readWS(t, c); got != text {
			t.Fatalf("%d bytes came back of %d", len(got), len(text))
		}
	}
}

// TestTLSBySNI: the certificate follows the name that is asked for: exactly, by a wildcard for one label, else the first.
func TestTLSBySNI(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	a.server("server", "main.example")
	a.server("wild", "*.wild.example")
	a.server("exact", "A.wild.example", "second.example")
	r := start(t, a.secured(func(c *TLSCfg) {
		c.Certificates = append(c.Certificates, TLSCertificate{a.file("wild.pem"), a.file("wild.key")}, TLSCertificate{a.file("exact.pem"), a.file("exact.key")})
	}), func(c *Config) {
		c.Listeners[1] = "mqtts://127.0.0.1:0?tls_cert=" + a.file("exact.pem") + "&tls_key=" + a.file("exact.key")
	})
	for name, want := range map[string]string{
		"": "server", "main.example": "server", "other.example": "server", "wild.example": "server", "x.y.wild.example": "server",
		"x.wild.example": "wild", "X.WILD.example": "wild", "a.wild.example": "exact", "second.example": "exact",
	} {
		for addr, want := range map[string]string{r.mqtt: want, r.ws: "exact"} {
			c := r.mustTLS(addr, &tls.Config{ServerName: name, InsecureSkipVerify: true}) //nolint:gosec // it is looked at below
			if got := c.tlsState().PeerCertificates[0].Subject.CommonName; got != want {
				t.Errorf("%q at %s gets %s, want %s", name, addr, got, want)
			}
			c.cut()
		}
	}
	c := r.mustTLS(r.mqtt, &tls.Config{ServerName: "x.wild.example", InsecureSkipVerify: true}) //nolint:gosec // as above
	r.connectOn(c, "named")
	if w := r.whoIs("named"); w.tls.ServerName != "x.wild.example" {
		t.Errorf("%+v", w.tls)
	}
}

// TestTLSDowngrade: nothing below tls.min_version is spoken, and no ALPN that we do not know; each is counted, and harms nobody else.
func TestTLSDowngrade(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured())
	strict := start(t, a.secured(func(c *TLSCfg) { c.MinVersion = "1.3" }))
	only := func(version uint16) func(c *tls.Config) {
		return func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version }
	}
	for _, tc := range []struct {
		r       *rig
		version uint16
		refused bool
	}{
		{r, tls.VersionTLS10, true}, {r, tls.VersionTLS11, true}, {r, tls.VersionTLS12, false}, {r, tls.VersionTLS13, false},
		{strict, tls.VersionTLS11, true}, {strict, tls.VersionTLS12, true}, {strict, tls.VersionTLS13, false},
	} {
		if got := tc.r.refusedTLS(tc.r.mqtt, a.client(only(tc.version))); got != tc.refused {
			t.Errorf("version %x: refused %v", tc.version, got)
		}
	}
	if !r.refusedTLS(r.mqtt, a.client(func(c *tls.Config) { c.NextProtos = []string{"h2"} })) {
		t.Error("HTTP/2 on an MQTT port")
	}
	r.closesBy(reasonTLSHandshake, 0, 3)
	strict.closesBy(reasonTLSHandshake, 0, 2)
}

// TestPlainOnTLSPort: who speaks without TLS is told apart from who fails in TLS, and costs no handshake.
func TestPlainOnTLSPort(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured())
	for i, addr := range []string{r.mqtt, r.ws, r.any} {
		c := r.open(mqtt.V5, addr)
		if i == 1 {
			c.write([]byte("GET /mqtt HTTP/1.1\r\n\r\n"))
		} else {
			c.write(c.connectPacket("plain"))
		}
		if err := c.fill(); err == nil {
			t.Errorf("%s answers %q", addr, c.raw)
		}
	}
	r.closesBy(reasonPlainOnTLS, 0, 3)
	if s := r.gw.tls.handshaker.Stats(); s.Done+s.Failed+s.Refused != 0 {
		t.Errorf("%+v", s)
	}
	c := r.open(mqtt.V5, r.mqtt)
	c.write([]byte{typeHandshake, 1, 2, 3, 4, 5})
	_ = c.fill()
	r.closesBy(reasonTLSHandshake, 0, 1)
}

// TestTLSFull: there is no handshake for who is only told that there is no room.
func TestTLSFull(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured(), func(c *Config) { c.Limits.ConnectionsMax = 1 })
	c := r.mustTLS(r.mqtt, a.client())
	r.connectOn(c, "in")
	if _, err := r.openTLS(r.mqtt, a.client()); err == nil {
		t.Error("a handshake with a full gateway")
	}
	r.closesBy(reasonFull, 0, 1)
	c.ping()
}
