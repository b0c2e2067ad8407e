package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// shareBans has a gateway follow the bucket.
func shareBans(c *Config) { c.Bans.Shared = true }

// ban bans somebody as gateway ban does.
func (r *rig) ban(kind, name string, lasts time.Duration) {
	r.t.Helper()
	b := &bus.Ban{Kind: kind, Name: name, Reason: "test", At: time.Now()}
	if lasts > 0 {
		b.Until = time.Now().Add(lasts)
	}
	r.eventually("NATS takes the ban", func() bool { return r.gw.bus.PutBan(r.t.Context(), b) == nil })
}

// TestBansOfAllGateways: a ban ends the connections of whom it is about with 0x98, at every gateway, and keeps them out, each told in its own words, until
// it ends; nobody else notices.
func TestBansOfAllGateways(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	shared := func(c *Config) { c.NATS.URL, c.NATS.HeaderUser = s.URL(), true }
	a, b := start(t, shared, shareBans), start(t, shared, shareBans)
	meet(a, b)
	eve := func(o *mqtt.ConnectOut) { o.HasUsername, o.Username = true, []byte("eve") }
	live := []*client{a.connect(mqtt.V5, "bad-5"), b.connect(mqtt.V5, "evil", eve)}
	old, friend := b.connect(mqtt.V311, "bad-3"), b.connect(mqtt.V5, "friend")
	a.ban(bus.BanClient, "bad-5", 0)
	a.ban(bus.BanClient, "bad-3", 0)
	b.ban(bus.BanUser, "eve", 0)
	for _, c := range live {
		c.endsWith(mqtt.AdministrativeAction, 0)
	}
	old.end()
	for _, r := range []*rig{a, b} {
		r.eventually("all bans are known", func() bool { clients, users, _, _ := r.gw.bans.state(); return clients == 2 && users == 1 })
		for _, c := range []*client{r.open(mqtt.V5, r.mqtt), r.openWS(mqtt.V5, "/mqtt", "mqtt")} {
			c.write(c.connectPacket("bad-5"))
			if ack := c.expect(mqtt.TypeConnack); ack.Reason != mqtt.Banned || strings.Contains(string(ack.raw), retryProperty) {
				t.Errorf("CONNACK %v, %q", ack.Reason, ack.raw)
			}
			c.cut()
		}
		c := r.open(mqtt.V311, r.mqtt)
		c.write(c.connectPacket("bad-3"))
		if ack := c.expect(mqtt.TypeConnack); ack.ReturnCode != 5 {
			t.Errorf("return code %d", ack.ReturnCode)
		}
		c.cut()
		r.open(mqtt.V5, r.mqtt).refusesConnect(mqtt.Banned, eve)
		if code := closeCodeWS(t, r.dialWS("/ws/bad-5")); code != 1008 {
			t.Errorf("close code %v", code)
		}
		r.connect(mqtt.V5, "good", func(o *mqtt.ConnectOut) { o.HasUsername, o.Username = true, []byte("adam") }).disconnect()
	}
	friend.ping()
	if _, err := b.gw.bus.RemoveBan(t.Context(), bus.BanClient, "bad-5"); err != nil {
		t.Fatal(err)
	}
	a.eventually("it is over", func() bool { clients, _, _, _ := a.gw.bans.state(); return clients == 1 })
	a.connect(mqtt.V5, "bad-5").ping()
}

// TestBanOfAddress: connections from a banned network end, and new ones are reset before anything is read of them.
func TestBanOfAddress(t *testing.T) {
	t.Parallel()
	r := start(t, shareBans)
	bad, good := r.dialFrom("127.0.1.7", r.mqtt, mqtt.V5), r.dialFrom("127.0.2.7", r.mqtt, mqtt.V5)
	r.connectOn(bad, "bad")
	r.connectOn(good, "good")
	half := r.dialFrom("127.0.1.9", r.mqtt, mqtt.V5)
	half.write([]byte{0x10})
	r.ban(bus.BanAddress, "127.0.1.0/24", 2*time.Second)
	bad.endsWith(mqtt.AdministrativeAction, 0)
	if _, err := half.conn.Read(make([]byte, 1)); err == nil {
		t.Error("a connection that had not said who it is stays")
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.1.8")}, Timeout: patience}
	c, err := d.Dial("tcp", r.mqtt)
	if err == nil {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("not reset: %v", err)
	}
	good.ping()
	if n := r.sum().turnedAway[turnedBanned]; n == 0 {
		t.Error("not counted")
	}
	r.eventually("it ends by itself", func() bool { return !r.gw.bannedAddress(netip.MustParseAddr("127.0.1.8")) })
	r.connectOn(r.dialFrom("127.0.1.8", r.mqtt, mqtt.V5), "late")
}

// TestBanList: names are matched whole, networks by their bits, and what has ended does not count.
func TestBanList(t *testing.T) {
	now := time.Now()
	l := &banList{clients: map[string]int64{}, users: map[string]int64{}, networks: map[netip.Prefix]int64{}, lengths: map[int]bool{}}
	for _, b := range []bus.Ban{
		{Kind: bus.BanClient, Name: "c"}, {Kind: bus.BanClient, Name: "over", Until: now.Add(-time.Second)}, {Kind: bus.BanUser, Name: "u", Until: now.Add(time.Hour)},
		{Kind: bus.BanAddress, Name: "10.0.0.0/8"}, {Kind: bus.BanAddress, Name: "192.0.2.1"}, {Kind: bus.BanAddress, Name: "2001:db8::/32"},
		{Kind: bus.BanAddress, Name: "nonsense"}, {Kind: "other", Name: "x"},
	} {
		l.add(&b)
	}
	for _, c := range []struct {
		client, user string
		want         bool
	}{{"c", "", true}, {"cc", "", false}, {"C", "", false}, {"u", "", false}, {"over", "", false}, {"", "u", true}, {"x", "c", false}, {"", "", false}} {
		if got := l.has(c.client, c.user, now.UnixNano()); got != c.want {
			t.Errorf("%q %q: %v", c.client, c.user, got)
		}
	}
	for a, want := range map[string]bool{
		"10.200.0.1": true, "11.0.0.1": false, "192.0.2.1": true, "192.0.2.2": false, "::ffff:10.0.0.1": true, "2001:db8:7::1": true, "2001:db9::": false,
	} {
		if got := l.hasAddress(netip.MustParseAddr(a), now.UnixNano()); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
}

// TestFlapping: a client id that connects too often is banned for a while, at all gateways; others are not, nor is anybody unless that is set.
func TestFlapping(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	flapping := func(c *Config) {
		c.NATS.URL, c.Bans.FlappingConnects, c.Bans.FlappingBan = s.URL(), 5, 2*time.Second
	}
	a, b := start(t, flapping, shareBans), start(t, flapping, shareBans)
	for range 5 {
		a.connect(mqtt.V5, "crashes", persistent).disconnect()
		a.connect(mqtt.V5, "other", persistent).ping()
	}
	a.open(mqtt.V5, a.mqtt).refusesConnectAs("crashes", mqtt.Banned)
	b.eventually("the other gateway knows", func() bool { clients, _, _, _ := b.gw.bans.state(); return clients == 1 })
	b.open(mqtt.V5, b.mqtt).refusesConnectAs("crashes", mqtt.Banned)
	if n := a.sum().flapped; n != 1 {
		t.Errorf("%d bans", n)
	}
	b.eventually("it is over", func() bool {
		c := b.open(mqtt.V5, b.mqtt)
		defer c.cut()
		c.write(c.connectPacket("crashes"))
		return c.expect(mqtt.TypeConnack).Reason == mqtt.Success
	})
	off := Default()
	if newFlaps(&off.Bans) != nil {
		t.Error("connects are counted though nobody asked")
	}
}

// refusesConnectAs wants the CONNECT of a client id to be refused.
func (c *client) refusesConnectAs(id string, want mqtt.Reason) {
	c.t.Helper()
	c.write(c.connectPacket(id))
	if ack := c.expect(mqtt.TypeConnack); ack.Reason != want {
		c.t.Errorf("CONNACK %v, want %v", ack.Reason, want)
	}
	c.cut()
}

// TestFlapsAreBounded: client ids beyond the room are not noted, and those at peace make room.
func TestFlapsAreBounded(t *testing.T) {
	f := newFlaps(&BansCfg{FlappingConnects: 1, FlappingWindow: time.Second})
	for i := range flapsMax + 100 {
		if f.came(fmt.Append(nil, i), 1) {
			t.Fatalf("%d flaps", i)
		}
	}
	if n := len(f.of); n != flapsMax {
		t.Errorf("%d are noted", n)
	}
	if !f.came([]byte("0"), 2) {
		t.Error("the first is forgotten")
	}
	f.came([]byte("new"), 2*secondNanos)
	if !f.came([]byte("new"), 2*secondNanos+1) {
		t.Error("a new one finds no room")
	}
}

// lockedBuffer is a log that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestFaultD6TwoDevicesOneID: two devices that take one client id from each other are told of, once, with both addresses, and counted; the one that comes waits
// while the other is there, so that they change slowly. One that takes over from itself now and then does not wait.
func TestFaultD6TwoDevicesOneID(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	r := startLogging(t, &log, memoryOnly, func(c *Config) { c.Bans.DuplicateWait = 3 * time.Second })
	addresses := []string{"127.0.0.5", "127.0.0.6"}
	for i := range duelTakeovers + 2 {
		c := r.dialFrom(addresses[i%2], r.mqtt, mqtt.V5)
		r.connectOn(c, "twin")
	}
	if n := r.sum().duels; n != 1 {
		t.Fatalf("%d takeovers too many are counted", n)
	}
	text := log.String()
	if !strings.Contains(text, `"client":"twin"`) || !strings.Contains(text, "127.0.0.5:") || !strings.Contains(text, "127.0.0.6:") {
		t.Errorf("the log says %q", text)
	}
	began := time.Now()
	c := r.dialFrom(addresses[0], r.mqtt, mqtt.V5)
	r.connectOn(c, "twin")
	if took := time.Since(began); took < r.gw.cfg.Bans.DuplicateWait*9/10 {
		t.Errorf("answered after %v", took)
	}
	if n := strings.Count(log.String(), "twin"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	r.connect(mqtt.V5, "peaceful").ping()
	began = time.Now()
	r.connect(mqtt.V5, "peaceful").ping()
	if took := time.Since(began); took > r.gw.cfg.Bans.DuplicateWait/2 {
		t.Errorf("a takeover took %v", took)
	}
	c.disconnect()
}
