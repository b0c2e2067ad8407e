package gateway

import (
	"slices"

	"github.com/tidegate/tidegate/gateway/auth"
	"github.com/tidegate/tidegate/gateway/auth/chain"
)

// chainResult is how a CONNECT ended at its chain, as a metric label.
type chainResult uint8

const (
	chainAllowed chainResult = iota
	chainRefused
	chainResults
)

var chainLabels = [chainResults]string{"allowed", "refused"}

func (e emitter) chains(s *snapshot, g *Gateway) {
	for i, n := range s.chainAnswers {
		e.counter("gateway_auth_connects_total", float64(n), chainLabels[i])
	}
	links := g.doors.links
	if len(links) == 0 {
		links = []*link{{Link: chain.NewLink(nil, chain.Settings{}), name: noChain}}
	}
	for _, l := range links {
		st := l.Stats()
		for _, n := range []struct {
			result string
			count  uint64
		}{
			{"allow", st.Answers[auth.Allow]}, {"deny", st.Answers[auth.Deny]}, {"pass", st.Answers[auth.Pass]}, {"failed", st.Failed},
			{"cached", st.Cached}, {"shared", st.Shared}, {"busy", st.Busy}, {"spared", st.Spared},
		} {
			e.counter("gateway_auth_answers_total", float64(n.count), l.name, n.result)
		}
		open := 0.0
		if st.Open {
			open = 1
		}
		e.gauge("gateway_auth_waiting", float64(st.Waiting), l.name)
		e.gauge("gateway_auth_breaker_open", open, l.name)
		e.gauge("gateway_auth_longest_seconds", st.Slowest.Seconds(), l.name)
	}
	for _, l := range slices.Concat(links, g.doors.settings) {
		for result := range l.reloads {
			e.counter("gateway_auth_reloads_total", float64(l.reloads[result].Load()), l.name, reloadLabels[result])
		}
	}
	byAddress, byName := g.doors.throttle.Throttled()
	e.counter("gateway_auth_throttled_total", float64(byAddress), "address")
	e.counter("gateway_auth_throttled_total", float64(byName), "name")
}
