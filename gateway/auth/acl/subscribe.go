package acl

import (
	"bytes"
	"strings"
)

// Subscribe says whether a device may have a subscription; filter is without $share/GROUP/. An allow rule has to cover all of the
// filter, and no deny rule before it may have a topic in common with it: what is denied is not to be had by asking for more. Without
// such an allow rule, the first deny rule that has a topic in common with the filter decides. It disconnects only a device all of whose filter it is
// about: one that asks for everything means no harm.
//
// The work is bounded as that of Publish. It allocates nothing for filters of up to 15 levels.
func (p *Policy) Subscribe(who *Who, filter []byte, qos byte) Decision {
	if bytes.Count(filter, []byte{'/'}) >= LevelsMax {
		return Decision{Rule: Undecided} // deeper than devices' topics ever are
	}
	var room [shallow + 1][]byte
	s := span{p: p, who: who, qos: qos, levels: room[:0], best: int32(len(p.rules))}
	for rest, more := filter, true; more; {
		var l []byte
		l, rest, more = bytes.Cut(rest, []byte{'/'})
		s.levels = append(s.levels, l)
	}
	s.visit(0, 0, true)
	d := p.decision(s.best)
	if d.OnDeny == Disconnect && !s.whole {
		d.OnDeny = Reason
	}
	return d
}

// span is a check of all topics of a filter.
type span struct {
	p      *Policy
	who    *Who
	levels [][]byte
	qos    byte
	best   int32
	whole  bool // best is about the whole filter
}

// visit looks at a node and what is below it; covers: every topic of the filter that is like the levels so far is in the node's.
func (s *span) visit(at int32, depth int, covers bool) {
	n := &s.p.nodes[at]
	if n.first >= s.best {
		return
	}
	special := depth == 0 && len(s.levels[0]) > 0 && s.levels[0][0] == '$'
	if !special {
		s.take(n.below, covers)
	}
	if depth == len(s.levels) {
		s.take(n.here, covers)
		return
	}
	text := s.levels[depth]
	switch string(text) {
	case "#":
		s.below(at, depth)
	case "+":
		s.each(n, depth, false)
		if n.plus != none {
			s.visit(n.plus, depth+1, covers)
		}
	default:
		for _, next := range n.kids {
			if s.p.nodes[next].level == string(text) {
				s.visit(next, depth+1, covers)
				break
			}
		}
		for p, next := range n.holders {
			if next != none && !special && s.who.value(place(p)) == string(text) && standsForLevel(text) {
				s.visit(next, depth+1, covers)
			}
		}
		if n.plus != none && !special {
			s.visit(n.plus, depth+1, covers)
		}
	}
}

// each goes on with the children that stand for one level that + of a filter stands for, too; all: and with whatever is below them.
func (s *span) each(n *node, depth int, all bool) {
	for _, next := range n.kids {
		if depth > 0 || !startsSpecial(s.p.nodes[next].level) {
			s.into(next, depth+1, all)
		}
	}
	for p, next := range n.holders {
		if next != none && standsForOne(s.who.value(place(p)), depth) {
			s.into(next, depth+1, all)
		}
	}
}

func (s *span) into(at int32, depth int, all bool) {
	if all {
		s.below(at, depth)
		return
	}
	s.visit(at, depth, false)
}

// below has the rules at a node and all those below it share topics with the filter's #, which none but # covers.
func (s *span) below(at int32, depth int) {
	n := &s.p.nodes[at]
	if n.first >= s.best {
		return
	}
	s.take(n.here, false)
	s.take(n.below, false)
	s.each(n, depth, true)
	if n.plus != none {
		s.below(n.plus, depth+1)
	}
}

// take notes the first of these rules that decides.
func (s *span) take(rules []int32, covers bool) {
	for _, i := range rules {
		if i >= s.best {
			return
		}
		r := &s.p.rules[i]
		if r.appliesTo(ask{action: Subscribe, qos: s.qos}, s.who) && (covers || !r.Allow) {
			s.best, s.whole = i, covers
			return
		}
	}
}

func startsSpecial(text string) bool { return text != "" && text[0] == '$' }

// standsForOne tells whether a value of the device can be a level at this depth of a filter's topics.
func standsForOne(value string, depth int) bool {
	if depth == 0 && startsSpecial(value) {
		return false
	}
	return value != "" && !strings.ContainsAny(value, "+#/\x00")
}
