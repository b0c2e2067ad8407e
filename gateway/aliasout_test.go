package gateway

import (
	"fmt"
	"testing"
)

// hear is one message that goes out: what it costs or saves in bytes.
func (a *aliasesOut) hear(topic []byte, limit int) (saved int) {
	alias, known := a.propose(topic, limit)
	a.commit(topic, alias, known, limit)
	switch {
	case known:
		return len(topic) - aliasBytes
	case alias != 0:
		return -aliasBytes
	}
	return 0
}

// rounds are n topics in turn.
func rounds(n int) (topics [][]byte) {
	for i := range n {
		topics = append(topics, fmt.Appendf(nil, "plant/7/pump-%04d/telemetry", i))
	}
	return topics
}

// TestAliasPolicy: which topics have aliases after each kind of traffic.
func TestAliasPolicy(t *testing.T) {
	hearAll := func(a *aliasesOut, topics [][]byte, times int) (saved int) {
		for range times {
			for _, topic := range topics {
				saved += a.hear(topic, 16)
			}
		}
		return saved
	}
	all := rounds(2000)
	each := len(all[0]) - aliasBytes
	for _, tc := range []struct {
		name          string
		topics, times int
		want          int
	}{
		{"one topic", 1, 100, 99*each - aliasBytes},
		{"as many as aliases", 16, 100, 16 * (99*each - aliasBytes)},
		{"some more, in turn: those with an alias keep it", 20, 100, 16 * (99*each - aliasBytes)},
		{"each once", 1000, 1, -16 * aliasBytes},
		{"a thousand in turn", 1000, 10, 16 * (9*each - aliasBytes)},
	} {
		a := &aliasesOut{}
		if saved := hearAll(a, all[:tc.topics], tc.times); saved != tc.want {
			t.Errorf("%s: %d bytes saved, want %d", tc.name, saved, tc.want)
		}
	}
	a := &aliasesOut{}
	hearAll(a, all[:16], 10)
	hearAll(a, all[16:1000], 1) // topics that come once take no alias away
	if saved := hearAll(a, all[:16], 1); saved != 16*each {
		t.Errorf("after topics that came once: %d bytes saved, want %d", saved, 16*each)
	}
	hearAll(a, all[1000:1010], 2) // others that come again do
	if saved := hearAll(a, all[1000:1010], 1); saved != 10*each {
		t.Errorf("after a change of topics: %d bytes saved, want %d", saved, 10*each)
	}
	if len(a.topics) != 16 || len(a.passed) != 16 {
		t.Errorf("%d aliases and %d topics without one", len(a.topics), len(a.passed))
	}
}

// TestAliasAllocations: once the aliases are set up nothing is allocated, whichever way the topics go.
func TestAliasAllocations(t *testing.T) {
	for _, n := range []int{1, 16, 20, 1000} {
		a, topics := &aliasesOut{}, rounds(n)
		hear := func() {
			for _, topic := range topics {
				a.hear(topic, 16)
			}
		}
		hear()
		if got := testing.AllocsPerRun(10, hear); got != 0 {
			t.Errorf("%d topics: %v allocations", n, got)
		}
	}
}

// BenchmarkAliasOut is what an alias costs in time and saves in bytes, by how many topics a device hears in turn.
func BenchmarkAliasOut(b *testing.B) {
	for _, n := range []int{1, 4, 16, 20, 1000} {
		b.Run(fmt.Sprintf("topics=%d", n), func(b *testing.B) {
			a, topics := &aliasesOut{}, rounds(n)
			saved, i := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				saved += a.hear(topics[i%n], 16)
				i++
			}
			b.ReportMetric(float64(saved)/float64(i), "B-saved/op")
		})
	}
}
