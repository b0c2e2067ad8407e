package session

import (
	"hash/maphash"
	"strings"
)

// node is one level of wildcard filters. Literal children are found through one index for the whole trie, keyed by
// parent and level, so that a node costs 64 bytes and neither an empty nor a huge level needs a map of its own.
type node struct {
	level  string
	parent *node
	chain  *node         // of the same bucket
	plus   *node         // the child for +
	here   *Subscription // head of the filters that end at this level
	below  *Subscription // head of the filters that go on with #
	kids   uint32        // literal children
	id     uint32        // of this node, mixed into the hash of its children
}

// trie holds the wildcard filters of a table.
type trie struct {
	root   node
	edges  index[node]
	seed   maphash.Seed
	nextID uint32
	cur    []*node // scratch of match: nodes reached at this level
	next   []*node
}

func (t *trie) init(seed maphash.Seed) {
	t.seed = seed
	t.edges = newIndex(
		func(n *node) uint64 { return edgeHash(maphash.String(seed, n.level), n.parent) },
		func(n *node) **node { return &n.chain })
}

// edgeHash is the hash of a literal child of parent whose level hashes to h.
func edgeHash(h uint64, parent *node) uint64 {
	return h ^ uint64(parent.id)*0x9E3779B97F4A7C15
}

// literal is parent's child for level, nil when there is none. h is the hash of level.
func (t *trie) literal(parent *node, level string, h uint64) *node {
	for n := *t.edges.bucket(edgeHash(h, parent)); n != nil; n = n.chain {
		if n.parent == parent && n.level == level {
			return n
		}
	}
	return nil
}

// find is the place of filter's head: a node, and whether the filter ends with #. With grow, missing nodes are made.
func (t *trie) find(filter string, grow bool) (at *node, below bool) {
	at = &t.root
	for rest, more := filter, true; more; {
		var first string
		first, rest, more = level(rest)
		if first == "#" {
			return at, true
		}
		child := at.plus
		if first != "+" {
			child = t.literal(at, first, maphash.String(t.seed, first))
		}
		if child == nil {
			if !grow {
				return nil, false
			}
			child = t.addChild(at, first)
		}
		at = child
	}
	return at, false
}

func (t *trie) addChild(parent *node, level string) *node {
	t.nextID++
	if level == "+" {
		parent.plus = &node{level: "+", parent: parent, id: t.nextID}
		return parent.plus
	}
	// The level is copied: a part of the filter would keep all of it alive.
	n := &node{level: strings.Clone(level), parent: parent, id: t.nextID}
	t.edges.add(t.edges.hash(n), n)
	parent.kids++
	return n
}

// head is where the head of a filter at n is held.
func (n *node) head(below bool) **Subscription {
	if below {
		return &n.below
	}
	return &n.here
}

func (t *trie) add(s *Subscription) {
	n, below := t.find(s.Filter, true)
	head := n.head(below)
	*head = join(*head, s)
}

func (t *trie) remove(s *Subscription) {
	n, below := t.find(s.Filter, false)
	head := n.head(below)
	*head = leave(*head, s)
	t.prune(n)
}

// prune removes n and its parents as long as they hold nothing.
func (t *trie) prune(n *node) {
	for n.parent != nil && n.here == nil && n.below == nil && n.plus == nil && n.kids == 0 {
		parent := n.parent
		if parent.plus == n {
			parent.plus = nil
		} else {
			t.edges.remove(t.edges.hash(n), n)
			parent.kids--
		}
		n = parent
	}
}

// match adds every filter that matches topic to m. It goes down level by level with all nodes reached so far: the
// work is bounded by the nodes that exist, the memory is reused, nothing recurses.
func (t *trie) match(topic string, from *Session, m *Matches) {
	cur, next := append(t.cur[:0], &t.root), t.next[:0]
	// A topic that begins with $ is for filters that name its first level [MQTT-4.7.2-1].
	literalOnly := len(topic) > 0 && topic[0] == '$'
	for rest, more := topic, true; more && len(cur) > 0; {
		var first string
		first, rest, more = level(rest)
		h := maphash.String(t.seed, first)
		next = next[:0]
		for _, n := range cur {
			if !literalOnly {
				m.addAll(n.below, from)
				if n.plus != nil {
					next = append(next, n.plus)
				}
			}
			if n.kids > 0 {
				if child := t.literal(n, first, h); child != nil {
					next = append(next, child)
				}
			}
		}
		literalOnly = false
		cur, next = next, cur
	}
	for _, n := range cur {
		m.addAll(n.here, from)
		m.addAll(n.below, from) // "a/#" matches "a" [MQTT 4.7.1.2]
	}
	t.cur, t.next = cur, next
}
