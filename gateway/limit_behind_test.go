package gateway

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// headerOf is what a load balancer says of a client at an address.
func headerOf(from string) []byte {
	return fmt.Appendf(nil, "PROXY TCP4 %s 192.0.2.1 40001 1883\r\n", from)
}

// behind opens a connection of a client at an address, through a load balancer.
func (r *rig) behind(from string) *client {
	c := r.open(mqtt.V5, r.mqtt)
	c.write(headerOf(from))
	return c
}

// openAt is how many connections an address has by the table.
func (r *rig) openAt(from string) int32 {
	a := netip.MustParseAddr(from)
	p := r.gw.addresses.part(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of[a].open
}

// TestAddressFullBehindProxy: on a listener with PROXY headers the devices' addresses are held to the limits, and not the balancer's; what leaves gives its
// own address a place back, on whichever shard.
func TestAddressFullBehindProxy(t *testing.T) {
	t.Parallel()
	r := balanced(t, perAddress(2, 0, 1))
	var first []*client
	for i := range 4 { // each of an address of its own: together they are more than one address may have
		for j := range 2 {
			c, _ := r.connectOn(r.behind(fmt.Sprint("203.0.113.", i)), fmt.Sprint("c", i, j))
			first = append(first, c)
		}
	}
	for range 3 { // the balancer asks for its own sake
		c := r.open(mqtt.V5, r.mqtt)
		c.write([]byte("PROXY UNKNOWN\r\n"))
		r.connectOn(c, "")
	}
	hints(t, r.behind("203.0.113.1").refusesConnect(mqtt.QuotaExceeded))
	r.behind("203.0.113.9").connected(t, "other")
	if n := r.openAt("127.0.0.1"); n != 0 {
		t.Errorf("the balancer has %d", n)
	}
	first[2].cut()
	r.eventually("its place is free", func() bool { return r.openAt("203.0.113.1") == 1 })
	r.behind("203.0.113.1").connected(t, "next")
	for _, c := range first {
		c.cut()
	}
	r.eventually("all but five have gone, and the one that was refused", func() bool { n, _ := r.gw.room.state(); return n == 5 })
	r.eventually("their addresses are free", func() bool { return r.addressesOpen() == 2 })
	if n := r.sum().turnedAway[turnedAddressFull]; n != 1 {
		t.Errorf("%d were turned away", n)
	}
}

// connected wants CONNECT to be taken.
func (c *client) connected(t *testing.T, id string) {
	t.Helper()
	c.write(c.connectPacket(id))
	if ack := c.expect(mqtt.TypeConnack); ack.Reason != mqtt.Success {
		t.Fatalf("%s: %v", id, ack.Reason)
	}
}

// TestAddressRateBehindProxy: the same for the rate, and whoever is refused is refused before TLS.
func TestAddressRateBehindProxy(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, unrecorded, a.secured(), perAddress(0, 1, 1), func(c *Config) {
		c.Listeners = []string{"mqtts://127.0.0.1:0?proxy=any", "ws://127.0.0.1:0", "any://127.0.0.1:0"}
		c.Proxy.Trusted = []string{"127.0.0.0/8"}
	})
	refused := 0
	for range 4 { // on a slow machine one more may be due
		c := r.behind("203.0.113.1")
		conn := tls.Client(c.conn, a.client())
		switch err := conn.Handshake(); {
		case err == nil:
			conn.Close()
		case err == io.EOF || strings.Contains(err.Error(), "reset"):
			refused++
		default:
			t.Fatal(err)
		}
	}
	if refused == 0 {
		t.Error("nobody was refused")
	}
	r.closesBy(reasonConnectRate, 0, uint64(refused))
	if n := r.gw.tls.handshaker.Stats().Done; int(n) != 4-refused {
		t.Errorf("%d handshakes, %d were refused", n, refused)
	}
}

// TestBannedBehindProxy: the ban of an address keeps out who comes from there, by what the balancer says, and nobody else who comes through it; a ban of the
// balancer's address is about none of them.
func TestBannedBehindProxy(t *testing.T) {
	t.Parallel()
	r := balanced(t, func(c *Config) {
		c.WebSocket.TrustedProxies = []string{"127.0.0.0/8"}
		c.Listeners = []string{c.Listeners[0], "ws://127.0.0.1:0", c.Listeners[2]}
	})
	kept, _ := r.connectOn(r.behind("203.0.113.2"), "kept")
	gone, _ := r.connectOn(r.behind("203.0.113.1"), "gone")
	for _, network := range []string{"203.0.113.1", "127.0.0.0/8"} {
		r.gw.bans.impose(&bus.Ban{Kind: bus.BanAddress, Name: network, At: time.Now()})
	}
	gone.endsWith(mqtt.AdministrativeAction, 0)
	r.eventually("both are banned", func() bool { return r.gw.bannedAddress(netip.MustParseAddr("127.0.0.1")) })
	r.closesBy(reasonBanned, 0, 1)
	if n := r.behind("203.0.113.1").ended(); n != 0 {
		t.Errorf("%d bytes to who is banned", n)
	}
	r.closesBy(reasonBanned, 0, 2)
	if _, body := r.page("/metrics"); !strings.Contains(body, `gateway_accept_refused_total{reason="banned"} 1`) || !strings.Contains(body, `gateway_accept_refused_total{reason="reset"} 0`) {
		t.Error("it is counted otherwise")
	}
	r.behind("203.0.113.3").connected(t, "late")
	kept.ping()
	if _, text := r.forwards("203.0.113.1"); !strings.HasPrefix(text, "HTTP/1.1 403 ") {
		t.Errorf("the handshake gets %q", text)
	}
	if _, text := r.forwards("203.0.113.4"); !strings.HasPrefix(text, "HTTP/1.1 101 ") {
		t.Errorf("the handshake gets %q", text)
	}
}

// forwards shakes hands for a client at an address, as an HTTP proxy does.
func (r *rig) forwards(from string) (c *client, text string) {
	c = r.open(mqtt.V5, r.ws)
	head := string(ws.AppendHandshake(nil, r.ws, "/mqtt", "mqtt", testKey))
	c.write([]byte(strings.TrimSuffix(head, "\r\n") + "X-Forwarded-For: " + from + "\r\n\r\n"))
	p := make([]byte, 1<<10)
	n, _ := c.conn.Read(p)
	return c, string(p[:n])
}

// TestAddressFullForwarded: what a trusted HTTP proxy says counts, the proxy does not; who may not stay gets 429, and its place is another's.
func TestAddressFullForwarded(t *testing.T) {
	t.Parallel()
	r := start(t, unrecorded, perAddress(1, 0, 1), func(c *Config) { c.WebSocket.TrustedProxies = []string{"127.0.0.1"} })
	var first *client
	for i := range 4 {
		c, text := r.forwards(fmt.Sprint("203.0.113.", i))
		if !strings.HasPrefix(text, "HTTP/1.1 101 ") {
			t.Fatalf("%d: the handshake gets %q", i, text)
		}
		if i == 0 {
			first = c
		}
	}
	_, text := r.forwards("203.0.113.0")
	if !strings.HasPrefix(text, fmt.Sprint("HTTP/1.1 ", http.StatusTooManyRequests, " ")) || !strings.Contains(text, "Retry-After: ") || strings.Contains(text, " 101 ") {
		t.Errorf("the handshake gets %q", text)
	}
	r.eventually("it holds no place", func() bool { n, _ := r.gw.room.state(); return n == 4 && r.openAt("203.0.113.0") == 1 })
	first.cut()
	r.eventually("its place is free", func() bool { return r.openAt("203.0.113.0") == 0 })
	if _, text = r.forwards("203.0.113.0"); !strings.HasPrefix(text, "HTTP/1.1 101 ") {
		t.Errorf("the handshake gets %q", text)
	}
	r.dialFrom("127.0.0.2", r.ws, mqtt.V5) // no proxy: it counts for itself, at once
	r.eventually("it is counted", func() bool { return r.openAt("127.0.0.2") == 1 })
}
