package gateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// perAddress bounds addresses, those of this machine included.
func perAddress(connections, rate, burst int) func(c *Config) {
	return func(c *Config) {
		c.Limits.PerAddress = PerAddress{ConnectionsMax: connections, ConnectRate: rate, ConnectBurst: burst, Exempt: []string{}}
	}
}

// dialFrom connects from an address of its own.
func (r *rig) dialFrom(from, to string, v mqtt.Version) *client {
	r.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	c, err := d.Dial("tcp", to)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &client{t: r.t, conn: c, v: v}
}

// refusesHTTP wants the WebSocket handshake to be refused with a status, and a word on when to come again.
func (c *client) refusesHTTP(want int) {
	c.t.Helper()
	c.write(ws.AppendHandshake(nil, "x", "/mqtt", "mqtt", testKey))
	text, _ := io.ReadAll(c.conn)
	if !strings.HasPrefix(string(text), fmt.Sprint("HTTP/1.1 ", want, " ")) || !strings.Contains(string(text), "Retry-After: ") {
		c.t.Errorf("the handshake gets %q", text)
	}
}

// hints wants a CONNACK to say when to come again.
func hints(t *testing.T, ack *got) {
	t.Helper()
	_, after, found := strings.Cut(string(ack.raw), retryProperty)
	if !found || len(after) < 2 {
		t.Fatalf("no %s in %q", retryProperty, ack.raw)
	}
	n := int(after[0])<<8 | int(after[1])
	if ms, err := strconv.Atoi(after[2 : 2+n]); err != nil || ms < retryMSMin || ms >= retryMSMax {
		t.Errorf("%s is %q", retryProperty, after[2:2+n])
	}
}

// TestListenerFull: a listener takes so many connections and no more, whatever room others have; each device is told in its own words, and the place
// of one that leaves is taken by the next.
func TestListenerFull(t *testing.T) {
	t.Parallel()
	r := bounded(t, "connections_max=2")
	first, _ := r.connectOn(r.open(mqtt.V5, r.any), "first")
	second, _ := r.connectOn(r.open(mqtt.V311, r.any), "second")
	hints(t, r.open(mqtt.V5, r.any).refusesConnect(mqtt.QuotaExceeded))
	r.open(mqtt.V311, r.any).refusesConnect(mqtt.ServerUnavailable)
	r.connect(mqtt.V5, "elsewhere").ping()
	framed, _ := r.connectOn(r.tight("ws", mqtt.V5), "framed") // the same query, but a listener of its own
	r.tight("ws", mqtt.V5).cut()
	first.disconnect()
	r.eventually("its place is free", func() bool { return r.gw.gates[2].open.Load() == 1 })
	r.connectOn(r.open(mqtt.V5, r.any), "next")
	second.ping()
	framed.ping()
	if n := r.sum().turnedAway[turnedListenerFull]; n != 2 {
		t.Errorf("%d were turned away", n)
	}
	for _, name := range []string{"listener_full", "listener_rate", "address_full", "address_rate"} {
		if _, body := r.page("/metrics"); !strings.Contains(body, fmt.Sprintf("gateway_accept_refused_total{reason=%q}", name)) {
			t.Errorf("no metric for %s", name)
		}
	}
	small := r.open(mqtt.V5, r.any).refusesConnect(mqtt.QuotaExceeded, func(o *mqtt.ConnectOut) { o.MaxPacketBytes = 20 })
	if len(small.raw) > 20 {
		t.Errorf("%d bytes to a device that takes 20", len(small.raw))
	}
}

// TestListenerConnectRate: connections beyond the rate of a listener, of all loops together, are refused with 0x9F and a hint.
func TestListenerConnectRate(t *testing.T) {
	t.Parallel()
	r := bounded(t, "connect_rate=1&connect_burst=5")
	for i := range 5 {
		r.connectOn(r.open(mqtt.V5, r.any), fmt.Sprint("c", i))
	}
	refused := 0
	for i := range 5 { // on a slow machine one more may be due
		c := r.open(mqtt.V5, r.any)
		c.write(c.connectPacket(fmt.Sprint("late", i)))
		ack := c.expect(mqtt.TypeConnack)
		if ack.Reason == mqtt.ConnectionRateExceeded {
			refused++
			hints(t, ack)
		}
	}
	if refused == 0 {
		t.Error("nobody was refused")
	}
	r.closesBy(reasonConnectRate, 0, uint64(refused))
	r.connect(mqtt.V5, "elsewhere").ping()
}

// TestAddressFull: one address has so many connections at a time, over all listeners; others are not concerned.
func TestAddressFull(t *testing.T) {
	t.Parallel()
	r := start(t, perAddress(2, 0, 1))
	first := r.dialFrom("127.0.0.2", r.mqtt, mqtt.V5)
	r.connectOn(first, "first")
	r.connectOn(r.dialFrom("127.0.0.2", r.any, mqtt.V311), "second")
	hints(t, r.dialFrom("127.0.0.2", r.mqtt, mqtt.V5).refusesConnect(mqtt.QuotaExceeded))
	r.dialFrom("127.0.0.2", r.mqtt, mqtt.V311).refusesConnect(mqtt.ServerUnavailable)
	r.dialFrom("127.0.0.2", r.ws, mqtt.V5).refusesHTTP(http.StatusTooManyRequests)
	r.connectOn(r.dialFrom("127.0.0.3", r.mqtt, mqtt.V5), "third")
	first.cut()
	r.eventually("its place is free", func() bool {
		x := r.gw.addresses
		a := netip.MustParseAddr("127.0.0.2")
		p := x.part(a)
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.of[a].open == 1
	})
	r.connectOn(r.dialFrom("127.0.0.2", r.mqtt, mqtt.V5), "next")
	if n := r.sum().turnedAway[turnedAddressFull]; n != 3 {
		t.Errorf("%d were turned away", n)
	}
}

// TestAddressExempt: the addresses of this machine are not bounded unless that is wanted, nor is anybody without the setting.
func TestAddressExempt(t *testing.T) {
	limits := Default().Limits.PerAddress
	if newAddresses(&limits, time.Second) != nil {
		t.Error("addresses are noted though nothing bounds them")
	}
	limits.ConnectionsMax = 1
	limits.Exempt = append(limits.Exempt, "10.0.0.0/8", "2001:db8::/32", "::ffff:192.0.2.1")
	x := newAddresses(&limits, time.Second)
	for a, want := range map[string]bool{
		"127.0.0.1": false, "127.9.9.9": false, "::1": false, "::ffff:127.0.0.1": false, "10.1.2.3": false, "2001:db8:1::1": false, "192.0.2.1": false,
		"192.0.2.2": true, "2001:db9::1": true, "::2": true,
	} {
		if got := x.counts(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s counts: %v", a, got)
		}
	}
	cfg := Default()
	cfg.Limits.PerAddress.Exempt = []string{"10.0.0.0/33", "home"}
	if errs := cfg.Validate(); len(errs) != 2 {
		t.Errorf("%v", errs)
	}
}

// TestNetworks: an IPv6 customer is one address with all of its /64.
func TestNetworks(t *testing.T) {
	x := newAddresses(&PerAddress{ConnectionsMax: 1}, time.Second)
	for _, c := range []struct {
		a    string
		want verdict
	}{
		{"2001:db8:0:1::1", welcome}, {"2001:db8:0:1:ffff::2", turnedAddressFull}, {"2001:db8:0:2::1", welcome},
		{"192.0.2.1", welcome}, {"::ffff:192.0.2.1", turnedAddressFull}, {"192.0.2.2", welcome}, {"fe80::1%eth0", welcome}, {"fe80::2%eth1", turnedAddressFull},
	} {
		if got := x.enter(netip.MustParseAddr(c.a), 1); got != c.want {
			t.Errorf("%s: %v", c.a, got)
		}
	}
}

// TestAddressTableIsBounded: an attacker with a large network costs so much memory and no more, hinders nobody, and is forgotten.
func TestAddressTableIsBounded(t *testing.T) {
	x := newAddresses(&PerAddress{ConnectionsMax: 1, ConnectRate: 1, ConnectBurst: 1}, time.Second)
	at := func(i int) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 1, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
	}
	const many = addressesMax + addressesMax/2
	for i := range many {
		if v := x.enter(at(i), 1); v != welcome {
			t.Fatalf("address %d: %v", i, v)
		}
	}
	if n, uncounted := x.known(); n > addressesMax || uncounted < many-addressesMax {
		t.Errorf("%d are known, %d are not", n, uncounted)
	}
	for i := range many {
		x.leave(at(i), 2)
	}
	if n, _ := x.known(); n < addressesMax*9/10 {
		t.Errorf("their rates are forgotten too early: %d are left", n)
	}
	if v := x.enter(at(1<<30), 3*secondNanos); v != welcome {
		t.Errorf("a new one: %v", v)
	}
	for part := range addressParts {
		x.forget(part, 3*secondNanos)
	}
	if n, _ := x.known(); n != 1 {
		t.Errorf("%d are left", n)
	}
}

// TestFaultD5ConnectFlood: connections opened and dropped as fast as possible, by FIN, by RST and without a word, from one address: it is
// refused beyond its rate, everybody else goes on, all places and descriptors come back.
func TestFaultD5ConnectFlood(t *testing.T) {
	t.Parallel()
	r := start(t, perAddress(50, 20, 20), func(c *Config) { c.Limits.ConnectTime = time.Second })
	friend := r.dialFrom("127.0.0.3", r.mqtt, mqtt.V5)
	r.connectOn(friend, "friend")
	var flood sync.WaitGroup
	const each = 150
	for w := range 4 {
		flood.Go(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.2")}, Timeout: patience}
			for i := range each {
				conn, err := d.Dial("tcp", r.mqtt)
				if errors.Is(err, syscall.ECONNRESET) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				switch (w + i) % 3 {
				case 0:
					_ = conn.(*net.TCPConn).SetLinger(0)
				case 1:
					_, _ = conn.Write([]byte{0x10, 0xFF})
				}
				conn.Close()
			}
		})
	}
	for range 20 {
		friend.ping()
	}
	flood.Wait()
	late := r.dialFrom("127.0.0.3", r.mqtt, mqtt.V5)
	r.connectOn(late, "late")
	r.eventually("all are gone", func() bool { n, _ := r.gw.room.state(); return n == 2 && r.sockets() == 2 })
	sum := r.sum()
	if refused := sum.turnedAway[turnedAddressRate] + sum.turnedAway[turnedAddressFull] + sum.loop.Refused; refused < 4*each/2 {
		t.Errorf("%d were refused", refused)
	}
	r.nobodyIsRefused()
	r.eventually("the address has no connections", func() bool { r.gw.addresses.forget(0, 1<<60); return r.addressesOpen() == 2 })
}

// addressesOpen is how many connections all addresses have by the table.
func (r *rig) addressesOpen() (n int) {
	for i := range r.gw.addresses.parts {
		p := &r.gw.addresses.parts[i]
		p.mu.Lock()
		for _, state := range p.of {
			n += int(state.open)
		}
		p.mu.Unlock()
	}
	return n
}
