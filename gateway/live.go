package gateway

import (
	"slices"
	"strings"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/session"
)

// Questions about live devices are answered by the shards from their own connections, so nothing has to be kept for them: each looks at
// announceStep connections in one tick, and holds no more than it will answer.

// liveQuery is a question about the live devices of this gateway.
type liveQuery struct {
	prefix string
	after  string // only client ids behind this one
	most   int    // clients wanted, those of the smallest ids; 0: only how many there are
}

// liveClient is one of them.
type liveClient struct {
	id    string
	state []byte // as JSON
}

// liveAnswer is what a shard found.
type liveAnswer struct {
	count   int
	clients []liveClient
}

// live asks every shard. It waits for them: not for loops. ok is false when the gateway stopped meanwhile.
func (g *Gateway) live(q liveQuery) (all liveAnswer, ok bool) {
	found := make(chan *liveAnswer, len(g.shards))
	for _, s := range g.shards {
		s.doSoon(func(s *shard) { s.live(&q, 1, &liveAnswer{}, found) })
	}
	for range g.shards {
		select {
		case a := <-found:
			all.count += a.count
			all.clients = append(all.clients, a.clients...)
		case <-g.stopped:
			return all, false
		}
	}
	all.cut(q.most)
	return all, true
}

// live looks at the connections from a slot on, and in the next tick at the following ones.
func (s *shard) live(q *liveQuery, from uint32, a *liveAnswer, found chan<- *liveAnswer) {
	next := s.loop.EachFrom(from, announceStep, func(c *epoll.Conn) {
		d := s.devices.At(c.Slot())
		if d.sess == nil || !strings.HasPrefix(d.sess.ClientID(), q.prefix) || d.sess.ClientID() <= q.after {
			return
		}
		if a.count++; q.most > 0 {
			a.clients = append(a.clients, liveClient{d.sess.ClientID(), s.gw.presence.Describe(s.presenceOf(c, d, d.sess))})
		}
		if len(a.clients) > 0 && len(a.clients) >= 2*q.most {
			a.cut(q.most)
		}
	})
	if next != 0 {
		s.doSoon(func(s *shard) { s.live(q, next, a, found) })
		return
	}
	found <- a
}

// cut leaves the first clients by id.
func (a *liveAnswer) cut(most int) {
	slices.SortFunc(a.clients, func(x, y liveClient) int { return strings.Compare(x.id, y.id) })
	if len(a.clients) > most {
		clear(a.clients[most:])
		a.clients = a.clients[:most]
	}
}

// expel disconnects a client at the wish of a backend; false: it is not connected here. It waits for the shard: not for loops.
func (g *Gateway) expel(client string) (found bool) {
	done := make(chan bool, 1)
	g.home([]byte(client)).doSoon(func(s *shard) {
		c := s.connOf(s.table.Get([]byte(client)))
		if c != nil {
			s.close(c, s.devices.At(c.Slot()), reasonAdministrative)
		}
		done <- c != nil
	})
	select {
	case found = <-done:
	case <-g.stopped:
	}
	return found
}

// connOf is the connection of a session; nil: it has none.
func (s *shard) connOf(sess *session.Session) *epoll.Conn {
	if sess == nil || sess.Owner() == 0 {
		return nil
	}
	c := s.loop.Conn(epoll.Handle(sess.Owner()))
	if c == nil || c.Closing() {
		return nil
	}
	return c
}
