package acl

import (
	"bytes"
	"hash/maphash"
)

// Who is the device, as rules may name it. An empty value, and one with + # / or U+0000 in it, stands for no level, so that nobody
// gets more by a name that looks like a filter. Neither does one that begins with $ stand for the first level.
type Who struct{ ClientID, Username, Tenant, CN string }

// Decision is what the rules say.
type Decision struct {
	Allow  bool
	Rule   int // which decided, see [Policy.Rule]; Undecided: none did, and Allow is false
	OnDeny OnDeny
}

// Undecided is the Rule of a Decision when no rule matches: the next policy, or the default, decides.
const Undecided = -1

// shallow is how many levels a check splits without more than a small array on its stack.
const shallow = 15

// Publish says whether a device may publish on a topic, which it gives without wildcards: the first rule decides that is about this
// topic, QoS and retain flag. It allocates nothing and takes 54 to 85 ns with 1,000 rules of all kinds; BenchmarkPublish. Rules with
// many wildcards at the front cost more: each node of the trie that they share a topic in is visited, once.
func (p *Policy) Publish(who *Who, topic []byte, qos byte, retain bool) Decision {
	return p.look(who, topic, ask{action: Publish, qos: qos, retain: retain})
}

// Deliver says whether a device may get a message on a topic, by the same rules as a subscription to this very topic with QoS 0.
func (p *Policy) Deliver(who *Who, topic []byte) Decision {
	return p.look(who, topic, ask{action: Subscribe})
}

// ask is what a device wants.
type ask struct {
	action Actions
	qos    byte
	retain bool
}

// appliesTo tells whether a rule is about the device and what it wants, but for the topic.
func (r *Rule) appliesTo(a ask, who *Who) bool {
	switch {
	case r.Actions&a.action == 0, r.Allow && a.qos > r.QoSMax, !r.isAbout(who):
		return false
	case a.action != Publish || r.Retain == Either:
		return true
	}
	return a.retain == (r.Retain == RetainedOnly)
}

func (p *Policy) look(who *Who, topic []byte, a ask) Decision {
	if p.depth > shallow {
		return p.lookDeep(who, topic, a)
	}
	var room [shallow + 1]level
	return p.lookIn(who, topic, a, room[:0])
}

// lookDeep is apart for its array, which costs time to clear.
func (p *Policy) lookDeep(who *Who, topic []byte, a ask) Decision {
	var room [LevelsMax + 1]level
	return p.lookIn(who, topic, a, room[:0])
}

func (p *Policy) lookIn(who *Who, topic []byte, a ask, room []level) Decision {
	w := walk{p: p, who: who, topic: topic, ask: a, best: int32(len(p.rules)), levels: p.split(topic, room)}
	w.visit(0, 0)
	return p.decision(w.best)
}

func (p *Policy) decision(rule int32) Decision {
	if int(rule) >= len(p.rules) {
		return Decision{Rule: Undecided}
	}
	r := &p.rules[rule]
	return Decision{Allow: r.Allow, Rule: int(rule), OnDeny: r.OnDeny}
}

// split cuts a topic at its separators. Levels beyond those of any rule are one: only # takes them.
func (p *Policy) split(topic []byte, room []level) []level {
	for from := 0; ; {
		to := len(topic)
		if i := bytes.IndexByte(topic[from:], '/'); i >= 0 && len(room) < p.depth {
			to = from + i
		}
		l := level{from: uint32(from), to: uint32(to)}
		if len(room) < p.depth {
			l.hash = maphash.Bytes(p.seed, topic[from:to])
		}
		room = append(room, l)
		if to == len(topic) {
			return room
		}
		from = to + 1
	}
}

// walk is a check of one topic.
type walk struct {
	p      *Policy
	who    *Who
	topic  []byte
	levels []level
	ask    ask
	best   int32 // rule that comes first so far
}

// visit looks at a node and what is below it. It calls itself no deeper than rules have levels.
func (w *walk) visit(at int32, depth int) {
	n := &w.p.nodes[at]
	if n.first >= w.best {
		return
	}
	special := depth == 0 && len(w.topic) > 0 && w.topic[0] == '$' // wildcards don't stand for it [MQTT-4.7.2-1]
	if !special {
		w.take(n.below)
	}
	if depth == len(w.levels) {
		w.take(n.here)
		return
	}
	l := &w.levels[depth]
	text := w.topic[l.from:l.to]
	if len(n.kids) > 0 {
		if next := w.p.literalChild(at, l.hash, text); next != none {
			w.visit(next, depth+1)
		}
	}
	for h, next := range n.holders {
		if next != none && !special && w.who.value(place(h)) == string(text) && standsForLevel(text) {
			w.visit(next, depth+1)
		}
	}
	if n.plus != none && !special {
		w.visit(n.plus, depth+1)
	}
}

// take notes the first of these rules that is about what the device wants.
func (w *walk) take(rules []int32) {
	for _, i := range rules {
		if i >= w.best {
			return
		}
		if w.p.rules[i].appliesTo(w.ask, w.who) {
			w.best = i
			return
		}
	}
}
