package acl

import (
	"fmt"
	"hash/maphash"
	"strings"
)

// Policy is rules made ready: a trie of their levels. Immutable, so that it is safe from any goroutine.
//
// A check splits the topic once, as deep as rules go, and then walks the trie. A node stands at one depth and is reached by one way
// only, so that a check visits each at most once, whatever the topic is: what it costs at worst is set by who wrote the rules. Nodes
// below which no rule comes before the best one so far are left out, so that it costs far less as a rule.
//
// Literal levels of all nodes are in one table, by node and hash of the level: 1,000 rules cost no more than ten.
type Policy struct {
	rules []Rule
	nodes []node
	edges []edge // of literal levels, open addressing
	depth int    // levels of the longest filter
	seed  maphash.Seed
}

// LevelsMax is how many levels the filter of a rule may have.
const LevelsMax = 128

// none is no rule and no node: nodes and rules are counted from 0, and the root is nobody's child.
const none = -1

// node is a place in the trie: the levels of a filter so far.
type node struct {
	level   string // literal; of the others as it is written
	place   place
	first   int32 // rule in this subtree that comes first
	plus    int32
	holders [placeCount]int32 // children that stand for a value of the device
	kids    []int32           // literal children
	here    []int32           // rules that end here, by order
	below   []int32           // rules that end here with #
}

// edge leads from a node to a literal child.
type edge struct {
	hash     uint64
	from, to int32 // to is 0 where the slot is free
}

// level is one of a topic: from topic[from] to topic[to].
type level struct {
	hash     uint64
	from, to uint32
}

// Compile makes rules ready. The error names the rule that can't be used, by its Source.
func Compile(rules []Rule) (*Policy, error) {
	p := &Policy{rules: append([]Rule(nil), rules...), seed: maphash.MakeSeed()}
	p.newNode("", literal)
	literals := 0
	for i := range p.rules {
		r := &p.rules[i]
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("acl: %s: %w", r.where(i), err)
		}
		literals += p.insert(r.Filter, int32(i))
	}
	p.link(literals)
	return p, nil
}

// Rule is the rule of this number in a Decision; it is the policy's.
func (p *Policy) Rule(i int) *Rule { return &p.rules[i] }

// Rules is how many there are.
func (p *Policy) Rules() int { return len(p.rules) }

func (p *Policy) newNode(text string, at place) int32 {
	n := node{level: text, place: at, first: int32(len(p.rules)), plus: none}
	for i := range n.holders {
		n.holders[i] = none
	}
	p.nodes = append(p.nodes, n)
	return int32(len(p.nodes) - 1)
}

// insert puts a rule into the trie and returns how many literal levels are new.
func (p *Policy) insert(filter string, rule int32) (literals int) {
	at, depth := int32(0), 0
	for text := range strings.SplitSeq(filter, "/") {
		p.nodes[at].first = min(p.nodes[at].first, rule)
		depth++
		if text == "#" {
			p.nodes[at].below = append(p.nodes[at].below, rule)
			p.depth = max(p.depth, depth)
			return literals
		}
		next := p.child(at, text)
		if next == none {
			next = p.grow(at, text)
			if placeOf(text) == literal && text != "+" {
				literals++
			}
		}
		at = next
	}
	n := &p.nodes[at]
	n.first, n.here = min(n.first, rule), append(n.here, rule)
	p.depth = max(p.depth, depth)
	return literals
}

// child is the child of a node for a level of a filter, or none.
func (p *Policy) child(at int32, text string) int32 {
	n := &p.nodes[at]
	if text == "+" {
		return n.plus
	}
	if h := placeOf(text); h != literal {
		return n.holders[h]
	}
	for _, k := range n.kids {
		if p.nodes[k].level == text {
			return k
		}
	}
	return none
}

func (p *Policy) grow(at int32, text string) int32 {
	h := placeOf(text)
	next := p.newNode(text, h)
	n := &p.nodes[at]
	switch {
	case text == "+":
		n.plus = next
	case h != literal:
		n.holders[h] = next
	default:
		n.kids = append(n.kids, next)
	}
	return next
}

// link fills the table of literal children, at most half of it.
func (p *Policy) link(literals int) {
	size := 4
	for size < 2*literals {
		size *= 2
	}
	p.edges = make([]edge, size)
	for from := range p.nodes {
		for _, to := range p.nodes[from].kids {
			e := edge{hash: maphash.String(p.seed, p.nodes[to].level), from: int32(from), to: to}
			i := slot(e.hash, e.from)
			for p.edges[i&uint64(size-1)].to != 0 {
				i++
			}
			p.edges[i&uint64(size-1)] = e
		}
	}
}

// slot is where the search for an edge begins; the table's size is yet to be applied.
func slot(hash uint64, from int32) uint64 { return hash + uint64(from)*0x9E3779B97F4A7C15 }

// literalChild is the child of a node for a level of a topic, or none.
func (p *Policy) literalChild(at int32, hash uint64, text []byte) int32 {
	mask := uint64(len(p.edges) - 1)
	for i := slot(hash, at); ; i++ {
		e := &p.edges[i&mask]
		if e.to == 0 {
			return none
		}
		if e.hash == hash && e.from == at && p.nodes[e.to].level == string(text) {
			return e.to
		}
	}
}
