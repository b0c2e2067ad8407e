package bus_test

import (
	"fmt"
	"math/rand"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bus"
)

func TestReplayIsTheLogThroughFilters(t *testing.T) {
	s, js := withLog(t)
	b, _ := reading(t, s)
	put(t, js, "$TG.log.a", "1")
	put(t, js, "$TG.log.a.b", "2", "TG", "1r c=pump u=x", "TG-Expiry", "60")
	put(t, js, "$TG.log2.k=20.a.b", "3", "TG", "2 c=k%20 p=17")
	put(t, js, "$TG.rel.k=20", "17")
	put(t, js, "$TG.log.b", "5", "TG", "1 c=pump", "Nats-Sequence", "99", "Status", "404")
	put(t, js, "$TG.log.$SYS.x", "6")
	put(t, js, "$TG.log.a.b", "", "Status", "404")
	for _, c := range []struct {
		filters []string
		after   uint64
		want    []string
	}{
		{[]string{"a/#"}, 0, []string{"1", "2", "3", ""}},
		{[]string{"a/+"}, 0, []string{"2", "3", ""}},
		{[]string{"a/+", "a/b", "+/b", "a/#"}, 0, []string{"1", "2", "3", ""}},
		{[]string{"#"}, 0, []string{"1", "2", "3", "5", ""}},
		{[]string{"+"}, 1, []string{"5"}},
		{[]string{"c"}, 0, nil},
		{[]string{"#"}, 7, nil},
		{nil, 0, nil},
	} {
		got, upTo, err := replay(t, b, bus.ReplayRead{Filters: filters(c.filters...), After: c.after})
		if err != nil || upTo != 7 || !slices.Equal(contents(got), c.want) {
			t.Errorf("%q after %d: %q up to %d, %v; want %q", c.filters, c.after, contents(got), upTo, err, c.want)
		}
	}
	got, _, _ := replay(t, b, bus.ReplayRead{Filters: filters("#")})
	two, three, five := got[1], got[2], got[3]
	now := uint32(time.Now().Unix())
	switch {
	case got[0].FromDevice || got[0].QoS != 1 || got[0].Seq != 1:
		t.Errorf("%+v", got[0])
	case !two.FromDevice || two.QoS != 1 || !two.Retain || string(two.ClientID) != "pump" || !two.Fields.HasExpiry || two.Fields.ExpirySec != 60:
		t.Errorf("%+v", two)
	case three.QoS != 2 || three.PacketID != 17 || string(three.ClientID) != "k " || string(three.Topic) != "a/b" || three.Seq != 3:
		t.Errorf("%+v", three)
	case five.Seq != 5 || five.StoredSec > now || five.StoredSec+60 < now:
		t.Errorf("%+v at %d", five, now)
	}
}

func TestReplayOfAUsersStream(t *testing.T) {
	s, js := withLog(t)
	b, _ := reading(t, s, func(o *bus.Options) { bus.SetUserStreams(o, "USERS") }) // which allows no direct gets
	for i := range 10 {
		put(t, js, "u."+strconv.Itoa(i%3), strconv.Itoa(i), "TG", "1")
	}
	got, upTo, err := replay(t, b, bus.ReplayRead{Stream: 1, Filters: filters("u/0", "u/2"), After: 1})
	if err != nil || upTo != 10 || !slices.Equal(contents(got), []string{"2", "3", "5", "6", "8", "9"}) || got[0].Stream != 1 || !got[0].FromDevice {
		t.Fatalf("%q up to %d, %v", contents(got), upTo, err)
	}
	got, upTo, err = replay(t, b, bus.ReplayRead{Stream: 1, Filters: filters("u/0", "u/2"), Count: 2})
	if err != nil || upTo != 3 || !slices.Equal(contents(got), []string{"0", "2"}) {
		t.Fatalf("%q up to %d, %v", contents(got), upTo, err)
	}
}

func TestReplayInPiecesIsTheWhole(t *testing.T) {
	s, js := withLog(t)
	b, _ := reading(t, s)
	random := rand.New(rand.NewSource(1))
	var want []uint64
	for i := range 600 {
		topic, prefix := random.Intn(6), "$TG.log."
		if i%5 == 0 {
			prefix = "$TG.log2.k."
		}
		seq := put(t, js, fmt.Sprintf("%st.%d.%d", prefix, topic, i%2), strconv.Itoa(i))
		if topic < 3 || i%2 == 1 {
			want = append(want, seq)
		}
	}
	few := filters("t/0/+", "t/1/#", "t/2/0", "t/2/1", "+/+/1", "t/+/1")
	many := slices.Clone(few)
	for i := range 40 {
		many = append(many, []byte("none/"+strconv.Itoa(i)))
	}
	for _, f := range [][][]byte{few, many} {
		for _, size := range []int{1, 7, 100, 1000} {
			var got []uint64
			after := uint64(0)
			for reads := 0; after < 600; reads++ {
				run, upTo, err := replay(t, b, bus.ReplayRead{Filters: f, After: after, Count: size})
				if err != nil || upTo <= after || len(run) > size {
					t.Fatalf("%d messages, after %d up to %d: %v", len(run), after, upTo, err)
				}
				for _, m := range run {
					got = append(got, m.Seq)
				}
				after = upTo
			}
			if !slices.Equal(got, want) {
				t.Fatalf("count %d, %d filters: got %d, want %d", size, len(f), len(got), len(want))
			}
		}
	}
	run, upTo, err := replay(t, b, bus.ReplayRead{Filters: few, Bytes: 1})
	if err != nil || len(run) != 1 || upTo != run[0].Seq {
		t.Fatalf("one byte: %d messages up to %d, %v", len(run), upTo, err)
	}
}

func TestManyReplaysShareWhatTheyRead(t *testing.T) {
	s, js := withLog(t)
	b, _ := reading(t, s)
	nc := s.Conn(t)
	f := feed(t, nc)
	f.progress(t, 12000) // more than one window
	f.finish()
	for i := range 50 {
		put(t, js, "$TG.log2.k.two."+strconv.Itoa(i%5), "")
		put(t, js, "$TG.rel.k", "1")
	}
	all, last, err := replay(t, b, bus.ReplayRead{Filters: filters("#"), Count: 1 << 20, Bytes: 1 << 30})
	if err != nil || uint64(len(all))+50 != last {
		t.Fatal(len(all), last, err)
	}
	f = feed(t, nc) // the end moves meanwhile
	var wait sync.WaitGroup
	for i := range 150 {
		topics := [][]string{{"n/0"}, {"n/+", "n/1"}, {"two/#"}, {"none", "+/2"}}[i%4]
		want := make(map[uint64]bool)
		for _, m := range all {
			topic := string(m.Topic)
			in := [][]string{{"n/0"}, {"n/0", "n/1", "n/2"}, {"two/0", "two/1", "two/2", "two/3", "two/4"}, {"n/2", "two/2"}}[i%4]
			if m.Seq > uint64(i*40) && slices.Contains(in, topic) {
				want[m.Seq] = true
			}
		}
		wait.Add(1)
		var read func(after uint64)
		read = func(after uint64) {
			r := bus.ReplayRead{After: after, Filters: filters(topics...), Count: 300 + i}
			b.ReplayLog(r, func(run []bus.Inbound, upTo uint64, err error) {
				if err != nil || upTo <= after {
					t.Errorf("read %d: %d after %d, %v", i, upTo, after, err)
					wait.Done()
					return
				}
				for _, m := range run {
					if m.Seq <= last && !want[m.Seq] || m.Seq <= after {
						t.Errorf("read %d: %d comes twice or is not wanted", i, m.Seq)
					}
					delete(want, m.Seq)
					after = m.Seq
				}
				if upTo < last {
					read(upTo)
					return
				}
				if len(want) > 0 {
					t.Errorf("read %d: %d are missing", i, len(want))
				}
				wait.Done()
			})
		}
		read(uint64(i * 40))
	}
	wait.Wait()
	f.finish()
}
