package bus_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

// banList is what a watch has told last.
type banList struct {
	mu  sync.Mutex
	all []string
}

func (l *banList) take(all map[string]*bus.Ban) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = l.all[:0]
	for key := range all {
		l.all = append(l.all, key)
	}
	slices.Sort(l.all)
}

func (l *banList) is(want ...string) func() bool {
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return slices.Equal(l.all, want)
	}
}

// watchBans follows the bucket until the test ends.
func watchBans(t *testing.T, b *bus.Bus) *banList {
	t.Helper()
	l := &banList{}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.NewBanWatch(l.take).Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return l
}

func ban(t *testing.T, b *bus.Bus, kind, name string, lasts time.Duration) {
	t.Helper()
	x := &bus.Ban{Kind: kind, Name: name, Reason: "test", At: time.Now()}
	if lasts > 0 {
		x.Until = time.Now().Add(lasts)
	}
	if err := b.PutBan(t.Context(), x); err != nil {
		t.Fatal(err)
	}
}

// TestBansAreShared: what is banned at one Bus is told at every other, also what was banned before it came, and while it was cut off; bans end by
// themselves and when they are removed.
func TestBansAreShared(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	a, b := open(t, s), open(t, s)
	ban(t, a, bus.BanClient, "pump 7.é", 0)
	here, there := watchBans(t, a), watchBans(t, b)
	const key = "client.pump=207=2E=C3=A9"
	eventually(t, "the first is known", func() bool { return here.is(key)() && there.is(key)() })
	ban(t, b, bus.BanAddress, "10.0.0.0/8", 0)
	ban(t, b, bus.BanUser, "eve", 2*time.Second)
	three := []string{"address.10=2E0=2E0=2E0=2F8", key, "user.eve"}
	eventually(t, "three are known", func() bool { return here.is(three...)() && there.is(three...)() })
	all, err := a.Bans(t.Context())
	if err != nil || len(all) != 3 || all[0].Name != "pump 7.é" || all[0].Reason != "test" || !all[0].Until.IsZero() || all[2].Until.IsZero() {
		t.Errorf("%v, %v", all, err)
	}
	eventually(t, "one ends", func() bool { return here.is(three[:2]...)() && there.is(three[:2]...)() })
	s.Shut()
	eventually(t, "NATS is away", func() bool { return !a.Status().Connected() })
	s.Reopen()
	eventually(t, "NATS is back, and takes the removal", func() bool {
		found, err := b.RemoveBan(t.Context(), bus.BanClient, "pump 7.é")
		return err == nil && found
	})
	if found, err := b.RemoveBan(t.Context(), bus.BanClient, "pump 7.é"); err != nil || found {
		t.Errorf("twice: %v, %v", found, err)
	}
	eventually(t, "one is removed", func() bool { return here.is(three[0])() && there.is(three[0])() })
}

// TestBansOthersWrite: what somebody else puts into the bucket does no harm, and names that have no key are refused.
func TestBansOthersWrite(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	a := open(t, s)
	l := watchBans(t, a)
	ban(t, a, bus.BanClient, "good", 0)
	eventually(t, "it is known", l.is("client.good"))
	nc := s.Conn(t)
	for i, value := range []string{"", "{", "[]", `{"kind":"client","name":"other"}`, `{"kind":"x","name":"good"}`} {
		if err := nc.Publish(fmt.Sprint("$KV.TG_bans.client.bad", i), []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Publish("$KV.TG_bans.client.good", []byte("null")); err != nil {
		t.Fatal(err)
	}
	ban(t, a, bus.BanUser, "last", 0)
	eventually(t, "only the last is left", l.is("user.last"))
	for _, name := range []string{"", strings.Repeat("é", 200)} {
		if err := a.PutBan(t.Context(), &bus.Ban{Kind: bus.BanClient, Name: name}); err == nil {
			t.Errorf("%q is banned", name)
		}
	}
}
