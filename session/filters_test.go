package session

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// FuzzMatch compares the table with the naive matcher: filters come as lines, each of an own session, are all added,
// matched, every second one removed, matched again, then all.
func FuzzMatch(f *testing.F) {
	f.Add("a/+/c\n#\n+/b/#\na/b/c\n/+\n$SYS/#", "a/b/c")
	f.Add("+/+\n/+\n+\n/#\n#", "/")
	f.Add("$a/+\n+/a\n#\n$a/#", "$a/b")
	f.Add("a//b\na/+/b\na/#\n+//+", "a//b")
	f.Fuzz(func(t *testing.T, lines, topic string) {
		if topic == "" || len(topic) > 200 || strings.ContainsAny(topic, "+#") || len(lines) > 2000 {
			return
		}
		var filters []string
		for l := range strings.SplitSeq(lines, "\n") {
			if fuzzFilter(l) {
				filters = append(filters, l)
			}
		}
		matchLife(t, filters, topic)
	})
}

// fuzzFilter says whether f is a filter the codec lets through, and no shared one.
func fuzzFilter(f string) bool {
	if f == "" || strings.HasPrefix(f, sharePrefix) {
		return false
	}
	levels := strings.Split(f, "/")
	for i, l := range levels {
		if strings.Contains(l, "#") && (l != "#" || i != len(levels)-1) || strings.Contains(l, "+") && l != "+" {
			return false
		}
	}
	return true
}

func matchLife(t *testing.T, filters []string, topic string) {
	table := NewTable(&Limits{})
	var out Out
	list := make([]*Session, len(filters))
	here := make([]bool, len(filters))
	for i, filter := range filters {
		list[i], _ = table.Open(1, &Connect{ClientID: fmt.Append(nil, i), Version: 5}, 1, &out)
		list[i].Step(1, &Event{Kind: Subscribe, Filters: []Filter{{Topic: []byte(filter)}}}, &out)
		here[i] = true
	}
	compare := func() {
		t.Helper()
		var m Matches
		table.Match([]byte(topic), nil, &m)
		got := map[*Session]bool{}
		for _, one := range m.List {
			if got[one.Session] {
				t.Fatalf("%q is matched twice", one.Session.id)
			}
			got[one.Session] = true
		}
		for i, filter := range filters {
			if want := here[i] && naiveMatch(filter, topic); got[list[i]] != want {
				t.Fatalf("%q on %q: want %v", filter, topic, want)
			}
		}
		if err := invariants(table); err != nil {
			t.Fatal(err)
		}
	}
	compare()
	for half := range 2 {
		for i := half; i < len(filters); i += 2 {
			list[i].Step(1, &Event{Kind: Unsubscribe, Filters: []Filter{{Topic: []byte(filters[i])}}}, &out)
			here[i] = false
		}
		compare()
	}
	if n := table.wild.edges.n + table.exact.n + table.Subscriptions(); n != 0 || table.wild.root.plus != nil {
		t.Fatalf("%d nodes are left", n)
	}
}

func TestMatchRandomFilters(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	words := []string{"a", "b", "", "+", "$s", "c"}
	word := func(n int) string { return words[rnd.IntN(n)] }
	for range 300 {
		var filters []string
		for range 1 + rnd.IntN(30) {
			levels := make([]string, 1+rnd.IntN(4))
			for i := range levels {
				levels[i] = word(len(words))
			}
			if rnd.IntN(3) == 0 {
				levels[len(levels)-1] = "#"
			}
			if f := strings.Join(levels, "/"); f != "" {
				filters = append(filters, f)
			}
		}
		topic := strings.ReplaceAll(word(3)+"/"+word(3)+"/"+word(5), "+", "$s")
		matchLife(t, filters, topic)
	}
}

func TestIndexGrowsAndShrinks(t *testing.T) {
	type thing struct {
		n    uint64
		next *thing
	}
	x := newIndex(func(n *thing) uint64 { return n.n * 0x9E3779B97F4A7C15 >> 20 }, func(n *thing) **thing { return &n.next })
	find := func(n uint64) bool {
		for p := *x.bucket(n * 0x9E3779B97F4A7C15 >> 20); p != nil; p = p.next {
			if p.n == n {
				return true
			}
		}
		return false
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	things := map[uint64]*thing{}
	for phase, top := range []int{5000, 100, 3000, 0} {
		for len(things) != top {
			if len(things) < top {
				p := &thing{n: rnd.Uint64()}
				things[p.n] = p
				x.add(x.hash(p), p)
				continue
			}
			for _, p := range things {
				x.remove(x.hash(p), p)
				delete(things, p.n)
				break
			}
		}
		seen := 0
		x.each(func(*thing) bool { seen++; return true })
		for n := range things {
			if !find(n) {
				t.Fatalf("phase %d: %d is lost", phase, n)
			}
		}
		if seen != top || x.n != top || len(x.segments) > top/segmentLen+2 {
			t.Fatalf("phase %d: %d nodes, %d counted, %d segments; want %d", phase, seen, x.n, len(x.segments), top)
		}
	}
}

func TestGroupTakesTurns(t *testing.T) {
	r := newRig(Limits{})
	open := func(id string) *Session {
		s, _ := r.table.Open(1, &Connect{ClientID: []byte(id), Version: 5, ExpirySec: 60}, 1, &r.out)
		s.Step(1, &Event{Kind: Subscribe, Filters: []Filter{{Topic: []byte("$share/g/a/+")}}}, &r.out)
		r.flush("")
		return s
	}
	all := []*Session{open("a"), open("b"), open("c")}
	g := r.table.Group(1)
	turns := func(n int) map[string]int {
		got := map[string]int{}
		for range n {
			got[g.Next(0).Session().ClientID()]++
		}
		return got
	}
	if got := fmt.Sprint(turns(30)); got != "map[a:10 b:10 c:10]" {
		t.Fatal(got)
	}
	all[0].Step(1, &Event{Kind: Lost}, &r.out)
	if got := fmt.Sprint(turns(30)); got != "map[b:15 c:15]" || g.Live() != 2 || g.Members() != 3 {
		t.Fatal(got)
	}
	all[1].Step(1, &Event{Kind: Lost}, &r.out)
	all[2].Step(1, &Event{Kind: Lost}, &r.out)
	if got := fmt.Sprint(turns(30)); got != "map[a:10 b:10 c:10]" || g.Live() != 0 {
		t.Fatal(got)
	}
	// The caller gives the group another id; then the group ends.
	g.Each(func(s *Subscription) bool { s.Interest = 9; return true })
	if r.table.Group(1) != nil || r.table.Group(9) != g || r.table.Group(0) != nil {
		t.Fatal("the group is not known by its new id only")
	}
	r.table.Tick(100, &r.out)
	if r.table.Group(9) != nil || len(r.table.unbound)+len(r.table.byInterest) != 0 {
		t.Fatal("the group outlives its members")
	}
}

func TestMatchInterest(t *testing.T) {
	r := newRig(Limits{})
	s, _ := r.table.Open(1, &Connect{ClientID: []byte("a"), Version: 5}, 1, &r.out)
	s.Step(1, &Event{Kind: Subscribe, Filters: []Filter{{Topic: []byte("a/b")}, {Topic: []byte("a/+")}, {Topic: []byte("#")}}}, &r.out)
	for i, in := range r.out.Interests {
		in.Sub.Interest = []uint32{0, 5, 3}[i]
	}
	var m Matches
	if r.table.Match([]byte("a/b"), nil, &m); len(m.List) != 1 || m.List[0].Interest != 3 {
		t.Fatalf("%+v", m.List)
	}
}

func TestTickIsBounded(t *testing.T) {
	table := NewTable(&Limits{})
	var out Out
	const n = tickWorkMax + 10
	for i := range n {
		s, _ := table.Open(1, &Connect{ClientID: fmt.Append(nil, i), Version: 5, ExpirySec: uint32(1 + i%50)}, 1, &out)
		s.Step(uint32(1+i%7), &Event{Kind: Lost}, &out)
	}
	table.Tick(100, &out)
	if table.Len() != 10 {
		t.Fatalf("%d sessions are left", table.Len())
	}
	table.Tick(100, &out)
	if table.Len() != 0 || len(table.due.list) != 0 {
		t.Fatalf("%d sessions are left", table.Len())
	}
}
