package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
	"github.com/tidegate/tidegate/session"
)

// TestTLSRevokedLeaves: who is connected with a certificate that is revoked then is told and closed on any shard and transport; others, and who has another
// certificate of the same device, stay.
func TestTLSRevokedLeaves(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	bad, fine := a.issue("bad"), a.issue("fine")
	a.revoke("ca.crl", time.Now().Add(time.Hour))
	r := start(t, a.secured(a.wants("optional"), func(c *TLSCfg) { c.CRL = []string{a.file("ca.crl")} }))
	var gone, stay []*client
	for shard := range 2 {
		gone = append(gone, r.mustTLS(r.mqtt, a.client(showing(bad))))
		r.connectOn(gone[shard], r.ids("bad", shard, 1)[0])
		stay = append(stay, r.mustTLS(r.mqtt, a.client(showing(fine))))
		r.connectOn(stay[shard], r.ids("fine", shard, 1)[0])
	}
	nameless := r.mustTLS(r.mqtt, a.client())
	r.connectOn(nameless, "nameless")
	silent := r.mustTLS(r.mqtt, a.client(showing(bad))) // secured, and no CONNECT yet
	r.eventually("all are secured", func() bool { return r.sum().loop.Handshakes == 6 })

	r.gw.Reload() // nothing has changed
	a.server("server")
	r.gw.Reload() // and not the list
	for _, c := range append(append(stay, nameless), gone...) {
		c.ping()
	}
	a.revoke("ca.crl", time.Now().Add(time.Hour), bad)
	r.gw.Reload()
	for _, c := range gone {
		c.endsWith(mqtt.AdministrativeAction, 0)
	}
	if err := silent.fill(); err == nil {
		t.Errorf("who says nothing hears %x", silent.raw)
	}
	r.closesBy(reasonRevoked, 0, 3)
	for _, c := range append(stay, nameless) {
		c.ping()
	}
}

// TestTLSMetrics: a scrape has all of them as soon as a device has shown a certificate.
func TestTLSMetrics(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured(a.wants("required")))
	r.connectOn(r.mustTLS(r.mqtt, a.client(showing(a.issue("one")))), "one")
	_, page := r.page("/metrics")
	for _, m := range metricTable {
		if strings.HasPrefix(m.name, "gateway_tls_") && !strings.Contains(page, "# HELP "+m.name+" ") {
			t.Errorf("no metric %s", m.name)
		}
	}
}

// TestTLSTakeover: a session goes from one TLS connection to another, and from TLS to none and back; its home is either shard.
func TestTLSTakeover(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured(), func(c *Config) { c.Listeners[1] = "mqtt://127.0.0.1:0" })
	p := r.mustTLS(r.mqtt, a.client())
	r.connectOn(p, "pub")
	for shard := range 2 {
		id := r.ids("kept", shard, 1)[0]
		first := r.mustTLS(r.mqtt, a.client())
		r.connectOn(first, id, persistent)
		first.subscribe(1, "to/"+id)
		for i, next := range []func() *client{
			func() *client { return r.mustTLS(r.any, a.client()) },
			func() *client { return r.open(mqtt.V5, r.ws) }, // plain here
			func() *client { return r.mustTLS(r.mqtt, a.client()) },
		} {
			c := next()
			if _, ack := r.connectOn(c, id, persistent); !ack.SessionPresent {
				t.Errorf("%s, %d: no session", id, i)
			}
			first.endsWith(mqtt.SessionTakenOver, 0)
			p.publish(1, "to/"+id, fmt.Sprint(i))
			c.gets("to/"+id, fmt.Sprint(i))
			first = c
		}
		first.disconnect()
	}
}

// TestTLSDeflate: WebSocket over TLS compresses as one without does.
func TestTLSDeflate(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured(), func(c *Config) { c.WebSocket.Compression = true })
	ctx, cancel := patient()
	defer cancel()
	transport := &http.Transport{TLSClientConfig: a.client()}
	defer transport.CloseIdleConnections()
	c, resp, err := websocket.Dial(ctx, "wss://"+r.any+"/echo", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, CompressionMode: websocket.CompressionNoContextTakeover, CompressionThreshold: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if got := resp.Header.Get("Sec-WebSocket-Extensions"); !strings.Contains(got, "permessage-deflate") {
		t.Fatalf("extensions %q", got)
	}
	c.SetReadLimit(1 << 20)
	for i := range 20 {
		text := strings.Repeat(fmt.Sprint("tide ", i), 1000)
		if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, got := readWS(t, c); got != text {
			t.Fatalf("%d bytes came back of %d", len(got), len(text))
		}
	}
}

// TestTLSProxied: a PROXY header comes before TLS and says the address, also in pieces; the certificate is the device's own.
func TestTLSProxied(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	pump := a.issue("pump")
	r := start(t, a.secured(a.wants("required")), func(c *Config) {
		c.Listeners[0] += "?proxy=any"
		c.Proxy.Trusted = []string{"127.0.0.0/8"}
	})
	for i, version := range []byte{1, 2} {
		for shard := range 2 {
			conn := r.dial(r.mqtt)
			header := proxyHeader(t, version)
			for _, piece := range [][]byte{header[:i+3], header[i+3:]} {
				if _, err := conn.Write(piece); err != nil {
					t.Fatal(err)
				}
			}
			c := &client{t: t, conn: tls.Client(conn, a.client(showing(pump))), v: mqtt.V5}
			id := r.ids(fmt.Sprint("behind-", version), shard, 1)[0]
			r.connectOn(c, id)
			if w := r.whoIs(id); w.peer.String() != "203.0.113.7:40001" || w.tls == nil || w.tls.User != "pump" {
				t.Errorf("%s is taken for %+v, %+v", id, w, w.tls)
			}
		}
	}
	c := tls.Client(r.dial(r.mqtt), a.client(showing(pump)))
	if err := c.Handshake(); err == nil {
		t.Error("TLS without the header")
	}
}

// TestTLSDrain: a gateway that stops says goodbye within TLS and ends it by close_notify; who is in a handshake does not hold it up.
func TestTLSDrain(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured())
	var all []*client
	for i := range 20 {
		c := r.mustTLS(r.mqtt, a.client())
		r.connectOn(c, fmt.Sprint("c", i))
		all = append(all, c)
	}
	framed := r.connectTLSWS("framed", r.ws)
	half := r.dial(r.mqtt)
	if _, err := half.Write([]byte{typeHandshake, 3, 1, 1, 0, 1}); err != nil {
		t.Fatal(err)
	}
	stuck := r.stalled(a) // has a seat, and does not go on
	r.eventually("a handshake waits", func() bool { return r.gw.tls.handshaker.Stats().Seats == 1 })
	var ends sync.WaitGroup
	for _, c := range all {
		ends.Go(func() {
			c.endsWith(mqtt.ServerShuttingDown, 0)
			if _, err := c.conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("after the goodbye: %v", err) // crypto/tls says unexpected EOF without close_notify
			}
		})
	}
	ends.Go(func() { framed.endsWith(mqtt.ServerShuttingDown, ws.GoingAway) })
	began := time.Now()
	if err := r.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the drain took %v", took)
	}
	ends.Wait()
	half.Close()
	stuck.Close()
}

// TestTLSHandshakeTime: limits.connect_time is for the handshake, too: for half a hello, for who does not answer ours, and for who has shaken hands and says
// nothing. All cost little and end alike.
func TestTLSHandshakeTime(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured(), func(c *Config) { c.Limits.ConnectTime = time.Second })
	half := r.dial(r.mqtt)
	if _, err := half.Write([]byte{typeHandshake, 3, 1, 1, 0, 1}); err != nil {
		t.Fatal(err)
	}
	r.stalled(a)
	r.mustTLS(r.mqtt, a.client())
	r.closesBy(reasonConnectTimeout, 0, 3)
	r.eventually("the seat is free", func() bool { s := r.gw.tls.handshaker.Stats(); return s.Seats == 0 && s.Queued == 0 })
	r.connectOn(r.mustTLS(r.mqtt, a.client()), "well")
}

// stalled is a TCP connection whose peer has said hello and then nothing more.
func (r *rig) stalled(a *authority) io.Closer {
	r.t.Helper()
	conn := r.dial(r.mqtt)
	said := make(chan struct{})
	go func() { // it hears nothing and leaves, and the connection stays
		_ = tls.Client(&mutes{Conn: conn, said: said}, a.client()).Handshake()
	}()
	<-said
	return conn
}

// TestTLSNeverReads: as without TLS, a device that never reads costs one batch and its queue, and is closed; see TestNeverReads.
func TestTLSNeverReads(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured(), short, func(c *Config) { c.Limits.BatchBytesMax = 64 << 10 })
	deaf := r.mustTLS(r.mqtt, a.client())
	r.connectOn(deaf, r.ids("deaf", 0, 1)[0])
	deaf.subscribe(1, "flood/#")
	other := r.mustTLS(r.mqtt, a.client())
	r.connectOn(other, r.ids("other", 0, 1)[0])
	other.subscribe(0, "flood/#")
	p := r.mustTLS(r.mqtt, a.client())
	r.connectOn(p, r.ids("pub", 0, 1)[0])
	payload := strings.Repeat("x", 32<<10)
	sent := 0
	r.eventually("the deaf device is closed", func() bool {
		p.publish(byte(sent%2), "flood/x", payload)
		sent++
		other.gets("flood/x", payload)
		return r.closedBy(reasonStalled) == 1
	})
	if r.sum().drops[session.DropCongested] == 0 {
		t.Error("no QoS 0 message was counted as congested")
	}
	if held := r.held(); held > 4<<20 {
		t.Errorf("the loops hold %d bytes", held)
	}
	other.ping()
}
