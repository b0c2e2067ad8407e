package bus_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus"
)

func load(t testing.TB, b *bus.Bus, client string) bus.SessionRecord {
	t.Helper()
	r, _, err := get(t, func(done func(bus.SessionRecord, uint64, error)) {
		b.LoadSession([]byte(client), func(r bus.SessionRecord, err error) { done(r, 0, err) })
	})
	if err != nil {
		t.Fatalf("load %q: %v", client, err)
	}
	return r
}

func save(t testing.TB, b *bus.Bus, client, value string, revision uint64, ttlSec uint32) (uint64, error) {
	t.Helper()
	_, r, err := get(t, func(done func(struct{}, uint64, error)) {
		b.SaveSession([]byte(client), []byte(value), revision, ttlSec, func(r uint64, err error) { done(struct{}{}, r, err) })
	})
	return r, err
}

func mustSave(t testing.TB, b *bus.Bus, client, value string, revision uint64) uint64 {
	t.Helper()
	r, err := save(t, b, client, value, revision, 0)
	if err != nil {
		t.Fatalf("save %q: %v", client, err)
	}
	return r
}

func drop(t testing.TB, b *bus.Bus, client string, revision uint64) {
	t.Helper()
	_, _, err := get(t, func(done func(struct{}, uint64, error)) {
		b.DropSession([]byte(client), revision, func(err error) { done(struct{}{}, 0, err) })
	})
	if err != nil {
		t.Fatalf("drop %q: %v", client, err)
	}
}

// value is a record of a generation.
func value(generation uint64, rest string) string {
	return string(binary.BigEndian.AppendUint64(nil, generation)) + rest
}

// records is how many messages the bucket holds.
func records(t testing.TB, js jetstream.JetStream) uint64 {
	t.Helper()
	s, err := js.Stream(t.Context(), "KV_TG_sessions")
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func TestRecordsAreFenced(t *testing.T) {
	s, js := withLog(t)
	one, two := open(t, s), open(t, s)
	const client = "sensor 1/ä"
	if r := load(t, one, client); r.Revision != 0 || r.Value != nil {
		t.Fatalf("%+v", r)
	}
	first := mustSave(t, one, client, "a", 0)
	if r := load(t, two, client); r.Revision != first || string(r.Value) != "a" {
		t.Fatalf("%+v", r)
	}
	second := mustSave(t, two, client, "b", first)
	for _, revision := range []uint64{first, 0, second + 1} {
		if _, err := save(t, one, client, "c", revision, 0); !errors.Is(err, bus.ErrFenced) {
			t.Fatalf("revision %d: %v", revision, err)
		}
	}
	if r := load(t, one, client); r.Revision != second || string(r.Value) != "b" {
		t.Fatalf("%+v", r)
	}
	drop(t, one, client, first) // of a session that is another's by now
	if r := load(t, one, client); r.Revision != second {
		t.Fatalf("a newer record was dropped: %+v", r)
	}
	drop(t, one, client, second)
	drop(t, two, client, second)
	if r := load(t, two, client); r.Revision != 0 || records(t, js) != 0 {
		t.Fatalf("%+v, %d messages stay", r, records(t, js))
	}
	mustSave(t, one, client, "d", 0)
	if c := one.Counters(); c.RecordsFenced != 3 {
		t.Fatalf("%+v", c)
	}
}

func TestTwoGatewaysRaceForARecord(t *testing.T) {
	s, _ := withLog(t)
	gateways := []*bus.Bus{open(t, s), open(t, s)}
	const rounds, clients = 10, 50
	for round := range rounds {
		var mu sync.Mutex
		var wait sync.WaitGroup
		winners := make(map[int]int)
		for g, b := range gateways {
			for c := range clients {
				wait.Add(1)
				id := fmt.Appendf(nil, "c%d", c)
				b.LoadSession(id, func(r bus.SessionRecord, err error) {
					if err != nil {
						t.Error(err)
					}
					b.SaveSession(id, fmt.Appendf(nil, "%d by %d", round, g), r.Revision, 0, func(_ uint64, err error) {
						defer wait.Done()
						switch {
						case err == nil:
							mu.Lock()
							winners[c]++
							mu.Unlock()
						case !errors.Is(err, bus.ErrFenced):
							t.Error(err)
						}
					})
				})
			}
		}
		wait.Wait()
		for c := range clients {
			if winners[c] < 1 { // two are right, too: one after the other
				t.Fatalf("round %d: nobody wrote client %d", round, c)
			}
		}
	}
}

func TestRecordExpires(t *testing.T) {
	s, js := withLog(t)
	b := open(t, s)
	r, err := save(t, b, "c", "a", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the record is gone", func() bool { return load(t, b, "c").Revision == 0 })
	if _, err := save(t, b, "c", "b", r, 0); !errors.Is(err, bus.ErrFenced) {
		t.Fatal(err)
	}
	mustSave(t, b, "c", "b", load(t, b, "c").Revision)
	if n := records(t, js); n != 1 {
		t.Fatalf("%d messages", n)
	}
}

func TestRecordRemovedByATool(t *testing.T) {
	s, js := withLog(t)
	b := open(t, s)
	mustSave(t, b, "c", "a", 0)
	put(t, js, "$KV.TG_sessions.c", "", "KV-Operation", "DEL")
	r := load(t, b, "c")
	if r.Value != nil || r.Revision != 2 {
		t.Fatalf("%+v", r)
	}
	mustSave(t, b, "c", "b", r.Revision)
}

func TestBucketIsFull(t *testing.T) {
	s, js := withLog(t)
	stream, err := js.Stream(t.Context(), "KV_TG_sessions")
	if err != nil {
		t.Fatal(err)
	}
	c := stream.CachedInfo().Config
	c.MaxBytes, c.Discard = 1000, jetstream.DiscardNew
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	b := open(t, s)
	revision := mustSave(t, b, "c", "a", 0)
	if _, err := save(t, b, "c", strings.Repeat("a", 2000), revision, 0); err == nil || !strings.Contains(err.Error(), "maximum bytes") {
		t.Fatal(err)
	}
	if r := load(t, b, "c"); r.Revision != revision {
		t.Fatalf("%+v", r)
	}
	if _, err := save(t, b, "c", strings.Repeat("a", 2<<20), revision, 0); err == nil { // beyond max_payload
		t.Fatal(err)
	}
}

func TestDropSessionIfThere(t *testing.T) {
	s, js := withLog(t)
	b := open(t, s)
	for i := range 1000 {
		b.SaveSession(fmt.Appendf(nil, "c%d", i), []byte(value(uint64(i), "x")), 0, 0, func(_ uint64, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "all saved", func() bool { return records(t, js) == 1000 })
	for i := range 1500 {
		b.DropSessionIfThere(fmt.Appendf(nil, "c%d", i), 600)
	}
	eventually(t, "the older are dropped", func() bool { return records(t, js) == 400 })
	if r := load(t, b, "c600"); r.Revision == 0 {
		t.Fatal("a newer record was dropped")
	}
}

func TestWaitingDropsAreBounded(t *testing.T) {
	s, js := withLog(t)
	b := open(t, s)
	mustSave(t, b, "first", value(1, ""), 0)
	mustSave(t, b, "last", value(1, ""), 0)
	s.Shut()
	eventually(t, "away", func() bool { return !b.Status().Connected() })
	b.DropSessionIfThere([]byte("first"), 2)
	for i := range bus.DropsMax - 1 {
		b.DropSessionIfThere(fmt.Appendf(nil, "c%d", i), 2)
	}
	b.DropSessionIfThere([]byte("last"), 2)
	eventually(t, "one is forgotten", func() bool { return b.Counters().DropsForgotten == 1 })
	s.Reopen()
	eventually(t, "the last is dropped", func() bool { return records(t, js) == 1 })
	if r := load(t, b, "first"); r.Revision == 0 {
		t.Fatal("the oldest was not forgotten")
	}
}

func TestClientIDsThatAreTooLong(t *testing.T) {
	s, _ := withLog(t)
	b := open(t, s)
	long := strings.Repeat("ä", 1000)
	if _, err := save(t, b, long, "a", 0, 0); !errors.Is(err, bus.ErrSubjectTooLong) {
		t.Fatal(err)
	}
	_, _, err := get(t, func(done func([]uint16, uint64, error)) { b.ReceivedQoS2([]byte(long), 0, done) })
	if !errors.Is(err, bus.ErrSubjectTooLong) {
		t.Fatal(err)
	}
	fits := strings.Repeat("c", bus.SubjectBytesMax-len("$KV.TG_sessions."))
	mustSave(t, b, fits, "a", 0)
	if r := load(t, b, fits); string(r.Value) != "a" {
		t.Fatalf("%+v", r)
	}
}

func TestReceivedQoS2(t *testing.T) {
	s, js := withLog(t)
	b := open(t, s)
	received := func(after uint64) ([]uint16, uint64) {
		t.Helper()
		ids, upTo, err := get(t, func(done func([]uint16, uint64, error)) { b.ReceivedQoS2([]byte("d 1"), after, done) })
		if err != nil {
			t.Fatal(err)
		}
		return ids, upTo
	}
	if ids, upTo := received(0); len(ids) != 0 || upTo != 0 {
		t.Fatal(ids, upTo)
	}
	store := func(id int) uint64 {
		return put(t, js, "$TG.log2.d=201.a.b", "", "TG", fmt.Sprintf("2 c=d%%201 p=%d", id))
	}
	release := func(id int) uint64 { return put(t, js, "$TG.rel.d=201", fmt.Sprint(id)) }
	store(1)
	put(t, js, "$TG.log2.other.a", "", "TG", "2 p=9")
	store(2)
	release(1)
	store(3)
	release(3)
	mark := store(3)
	put(t, js, "$TG.log2.d=201.x", "", "TG", "2 p=nonsense")
	last := put(t, js, "$TG.log.a", "")
	if ids, upTo := received(0); fmt.Sprint(ids) != "[2 3]" || upTo != last {
		t.Fatal(ids, upTo)
	}
	if ids, upTo := received(mark); len(ids) != 0 || upTo != last {
		t.Fatal(ids, upTo)
	}
	for i := range 700 { // more than one read
		store(100 + i)
	}
	for i := range 690 {
		last = release(100 + i)
	}
	if ids, upTo := received(mark); len(ids) != 10 || ids[0] != 790 || upTo != last {
		t.Fatal(ids, upTo)
	}
}

func TestSavesSurviveFaults(t *testing.T) {
	s, _ := withLog(t)
	b := open(t, s)
	const clients = 20
	var mu sync.Mutex
	saved := make(map[string]uint64)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for c := range clients {
		id := fmt.Sprintf("c%d", c)
		wait.Add(1)
		var next func(n int, revision uint64)
		next = func(n int, revision uint64) {
			select {
			case <-stop:
				wait.Done()
				return
			default:
			}
			b.SaveSession([]byte(id), fmt.Appendf(nil, "%s %d", id, n), revision, 0, func(revision uint64, err error) {
				if err != nil {
					t.Errorf("save %d of %s: %v", n, id, err)
					wait.Done()
					return
				}
				mu.Lock()
				saved[id] = revision
				mu.Unlock()
				next(n+1, revision)
			})
		}
		next(0, 0)
	}
	progress := func() {
		mu.Lock()
		from := saved["c0"]
		mu.Unlock()
		eventually(t, "progress", func() bool { mu.Lock(); defer mu.Unlock(); return saved["c0"] > from+50 })
	}
	for range 5 {
		progress()
		s.Sever()
	}
	progress()
	s.Pause()
	time.Sleep(20 * time.Millisecond) // so that something is in the door
	s.Sever()
	s.Resume()
	progress()
	s.Stop()
	s.Restart()
	progress()
	close(stop)
	wait.Wait()
	for c := range clients {
		id := fmt.Sprintf("c%d", c)
		if r := load(t, b, id); r.Revision != saved[id] {
			t.Fatalf("%s: %d is there, %d was told", id, r.Revision, saved[id])
		}
	}
}

func TestEverythingEndsWithTheBus(t *testing.T) {
	s, _ := withLog(t)
	b := open(t, s)
	s.Shut()
	eventually(t, "away", func() bool { return !b.Status().Connected() })
	const n = 100
	ends := make(chan error, 20*n)
	ask := func() {
		for i := range n {
			id := fmt.Appendf(nil, "c%d", i)
			b.LoadSession(id, func(_ bus.SessionRecord, err error) { ends <- err })
			b.SaveSession(id, []byte("x"), 0, 0, func(_ uint64, err error) { ends <- err })
			b.DropSession(id, 1, func(err error) { ends <- err })
			b.DropSessionIfThere(id, 1)
			b.LogEnd(0, func(_ uint64, err error) { ends <- err })
			b.ReplayLog(bus.ReplayRead{Filters: filters("#")}, func(_ []bus.Inbound, _ uint64, err error) { ends <- err })
			b.ReceivedQoS2(id, 0, func(_ []uint16, _ uint64, err error) { ends <- err })
		}
		go func() {
			_, err := b.Follow(0, filters("#"))
			ends <- err
		}()
	}
	ask()
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask()
	for range 2 * (6*n + 1) {
		select {
		case err := <-ends:
			if !errors.Is(err, bus.ErrClosed) {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatal("a callback is owed")
		}
	}
}

func TestReadsFailWhenNATSStaysAway(t *testing.T) {
	s, _ := withLog(t)
	b := open(t, s, func(o *bus.Options) { bus.SetAskPatience(o, 300*time.Millisecond) })
	fails := func(want error) {
		t.Helper()
		if _, _, err := replay(t, b, bus.ReplayRead{Filters: filters("#")}); !errors.Is(err, want) {
			t.Fatal(err)
		}
		if _, err := b.Follow(0, filters("#")); !errors.Is(err, want) {
			t.Fatal(err)
		}
	}
	fails(nil)
	if _, err := b.Follow(0, nil); err != nil {
		t.Fatal(err)
	}
	s.Pause() // connections stand, and nobody answers
	fails(bus.ErrTimeout)
	s.Shut()
	eventually(t, "away", func() bool { return !b.Status().Connected() })
	fails(bus.ErrDisconnected)
}
