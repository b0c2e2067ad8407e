package gateway

import (
	"net/netip"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestFlappingBanIsLifted: a ban that a gateway has imposed ends, also there, when somebody takes it out of the bucket.
func TestFlappingBanIsLifted(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	r := start(t, shareBans, func(c *Config) {
		c.NATS.URL, c.Bans.FlappingConnects, c.Bans.FlappingWindow, c.Bans.FlappingBan = s.URL(), 2, time.Hour, time.Hour
	})
	for range 2 {
		r.connect(mqtt.V5, "mended").disconnect()
	}
	r.open(mqtt.V5, r.mqtt).refusesConnectAs("mended", mqtt.Banned)
	r.eventually("the bucket tells it", func() bool {
		r.gw.bans.mu.Lock()
		defer r.gw.bans.mu.Unlock()
		return len(r.gw.bans.shared) == 1
	})
	if found, err := r.gw.bus.RemoveBan(t.Context(), bus.BanClient, "mended"); !found || err != nil {
		t.Fatal(found, err)
	}
	r.eventually("it is lifted", func() bool { clients, _, _, _ := r.gw.bans.state(); return clients == 0 })
	home := r.gw.home([]byte("mended"))
	forgot := make(chan struct{})
	home.do(func(s *shard) { s.flaps.of = map[uint64]cell{}; close(forgot) }) // as after an hour
	<-forgot
	r.connect(mqtt.V5, "mended").ping()
}

// TestBannedAgain: who is banned anew, after an end that nobody has swept up yet, is looked for.
func TestBannedAgain(t *testing.T) {
	now := time.Now()
	of := func(until time.Time) *banList {
		l := &banList{clients: map[string]int64{}, users: map[string]int64{}, networks: map[netip.Prefix]int64{}, lengths: map[int]bool{}}
		l.add(&bus.Ban{Kind: bus.BanClient, Name: "c", Until: until})
		return l
	}
	over, again, ever := of(now.Add(-time.Second)), of(now.Add(time.Hour)), of(time.Time{})
	if clients, everybody := again.newer(over, now); len(clients) != 1 || everybody {
		t.Errorf("%v, %v", clients, everybody)
	}
	for _, before := range []*banList{again, ever} {
		if clients, everybody := ever.newer(before, now); len(clients) != 0 || everybody {
			t.Errorf("%v, %v", clients, everybody)
		}
	}
	if clients, _ := ever.newer(nil, now); len(clients) != 1 {
		t.Errorf("%v", clients)
	}
}

// TestBanMeetsWhoMoves: an address that is banned while one of its connections is on the way to another loop, where nobody looks, ends there.
func TestBanMeetsWhoMoves(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly)
	list := &banList{clients: map[string]int64{}, users: map[string]int64{}, networks: map[netip.Prefix]int64{}, lengths: map[int]bool{}}
	list.add(&bus.Ban{Kind: bus.BanAddress, Name: "127.0.1.0/24"})
	for i := range 50 {
		c := r.dialFrom("127.0.1.7", r.mqtt, mqtt.V5)
		r.eventually("it is accepted", func() bool { return r.gw.room.open.Load() == 1 })
		r.gw.bans.list.Store(list) // and all have been looked at
		before := r.sum().movedOut
		c.write(c.connectPacket(r.ids("moves", i%2, 1)[0]))
		err := c.fill()
		r.gw.bans.list.Store(nil)
		c.cut()
		r.eventually("it is gone", func() bool { return r.gw.room.open.Load() == 0 })
		if r.sum().movedOut == before {
			continue
		}
		if err == nil {
			t.Errorf("who has moved hears %x", c.in)
		}
		return
	}
	t.Error("nobody moved")
}

// TestBanOfManyYears: the end of a ban may be beyond what nanoseconds can count, or before them.
func TestBanOfManyYears(t *testing.T) {
	t.Parallel()
	l := &banList{clients: map[string]int64{}, users: map[string]int64{}, networks: map[netip.Prefix]int64{}, lengths: map[int]bool{}}
	for name, until := range map[string]time.Time{"far": time.Now().Add(290 * 365 * 24 * time.Hour), "1970": time.Unix(0, 0), "long ago": time.Unix(-1e11, 0)} {
		l.add(&bus.Ban{Kind: bus.BanClient, Name: name, Until: until})
	}
	for name, want := range map[string]bool{"far": true, "1970": false, "long ago": false} {
		if l.has(name, "", time.Now().UnixNano()) != want {
			t.Errorf("%s: banned is not %v", name, want)
		}
	}
	s := bustest.Start(t)
	r := start(t, shareBans, func(c *Config) { c.NATS.URL = s.URL() })
	b, err := NewBan(bus.BanClient, "far", "", 290*365*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.gw.bus.PutBan(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	r.eventually("it is heeded", func() bool { clients, _, _, _ := r.gw.bans.state(); return clients == 1 })
	r.open(mqtt.V5, r.mqtt).refusesConnectAs("far", mqtt.Banned)
}

// TestRedacted: of a URL with a password no part of it is told.
func TestRedacted(t *testing.T) {
	got := redacted([]string{"nats://user:pa@ss@one:4222", "nats://token@two", "three:4222"})
	if want := "one:4222, two, three:4222"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestMappedNetworks: IPv4 addresses and networks in the form of IPv6 are those of IPv4, in which addresses are compared.
func TestMappedNetworks(t *testing.T) {
	for text, want := range map[string]string{
		"::ffff:192.0.2.0/120": "192.0.2.0/24", "::ffff:c000:200/120": "192.0.2.0/24", "::ffff:192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7/128": "192.0.2.7/32",
		"2001:db8::7/32": "2001:db8::/32", "192.0.2.7/24": "192.0.2.0/24",
	} {
		if got, err := parseNetwork(text); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if name, err := BanName(bus.BanAddress, "::ffff:0:0/96"); err == nil {
		t.Errorf("%s is not everybody", name)
	}
}
