package gateway

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/command"
	"github.com/tidegate/tidegate/session"
)

// Presence is who holds a filter and is connected, on this gateway. A device may ask, or watch: then each shard notes the changes of the
// filters that anybody watches, and at the end of the tick they go to all shards as one list. While nobody watches anything
// a change of a filter costs one atomic load.

// watched is the filters that devices watch. Safe from any goroutine; the lock is held for memory work only.
type watched struct {
	watchers atomic.Int64
	mu       sync.Mutex
	filters  map[string]int
}

// Bounds on what presence costs; what is beyond them the watchers are told to have missed: by the next change that they are told, or
// within a second or so if there is none.
const (
	changesMax   = 1024 // changes that a shard notes in one tick
	tellsMax     = 4096 // changes that a shard tells in one tick, and misses in a second, each watcher counted
	holdersMax   = 10_000
	presentNamed = 1000 // clients named in an answer
)

// change is a client that joined those who hold a filter, or left them.
type change struct {
	filter, client string
	joined         bool
}

// audience is the devices of a shard that watch one filter.
type audience struct {
	watchers []watcher
	skipped  uint32 // times that a change was told to nobody
	turn     int    // of watchers: who is told first
}

type watcher struct {
	h      epoll.Handle
	seen   uint32 // of audience.skipped
	missed bool   // a change was not told to this one
}

// behind tells whether a watcher has missed something.
func (w *watcher) behind(a *audience) bool { return w.missed || w.seen != a.skipped }

func (w *watched) add(filter string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watchers.Add(int64(n))
	if w.filters == nil {
		w.filters = map[string]int{}
	}
	if w.filters[filter] += n; w.filters[filter] == 0 {
		delete(w.filters, filter)
	}
}

func (w *watched) has(filter string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.filters[filter] > 0
}

// watch has a device told who joins and leaves a filter that it holds.
func (s *shard) watch(c *epoll.Conn, d *device, filter string) {
	t := d.more.talk
	t.watches = append(t.watches, filter)
	if s.audiences == nil {
		s.audiences, s.behind = map[string]*audience{}, map[string]*audience{}
	}
	a := s.audiences[filter]
	if a == nil {
		a = &audience{}
		s.audiences[filter] = a
	}
	a.watchers = append(a.watchers, watcher{h: c.Handle(), seen: a.skipped})
	s.gw.watched.add(filter, 1)
}

// unwatch ends that.
func (s *shard) unwatch(c *epoll.Conn, d *device, filter string) {
	t := d.more.talk
	at := slices.Index(t.watches, filter)
	if at < 0 {
		return
	}
	t.watches = slices.Delete(t.watches, at, at+1)
	a := s.audiences[filter]
	a.watchers = slices.DeleteFunc(a.watchers, func(w watcher) bool { return w.h == c.Handle() })
	if len(a.watchers) == 0 {
		delete(s.audiences, filter)
		delete(s.behind, filter)
	}
	s.gw.watched.add(filter, -1)
}

// unwatchAll ends it with the connection.
func (s *shard) unwatchAll(c *epoll.Conn, d *device) {
	if d.more == nil || d.more.talk == nil {
		return
	}
	for len(d.more.talk.watches) > 0 {
		s.unwatch(c, d, d.more.talk.watches[0])
	}
}

// noteChange notes that a live session gained a filter or lost it.
func (s *shard) noteChange(sub *session.Subscription, joined bool) {
	if s.gw.watched.watchers.Load() == 0 {
		return
	}
	filter := sub.Filter
	if sub.Share != "" {
		filter = "$share/" + sub.Share + "/" + sub.Filter
	}
	if !s.gw.watched.has(filter) {
		return
	}
	if len(s.changes) == changesMax {
		s.changesCut = true
		return
	}
	s.changes = append(s.changes, change{filter, sub.Session().ClientID(), joined})
}

// tellHeld notes that a session came to be connected, or is no more, with all its filters.
func (s *shard) tellHeld(sess *session.Session, joined bool) {
	if s.gw.watched.watchers.Load() == 0 {
		return
	}
	sess.EachSubscription(func(sub *session.Subscription) bool {
		s.noteChange(sub, joined)
		return true
	})
}

// tellChanges hands the changes of this tick to every shard. One whose inbox is full misses them, and is told so.
func (s *shard) tellChanges() {
	list := slices.Clone(s.changes)
	if s.untold == nil {
		s.untold = make([]bool, len(s.gw.shards))
	}
	s.owing = false
	for i, to := range s.gw.shards {
		cut := s.changesCut || s.untold[i]
		s.untold[i] = (len(list) > 0 || cut) && !to.do(func(to *shard) { to.hearChanges(list, cut) })
		s.owing = s.owing || s.untold[i] // the next tick is a second away at most
	}
	clear(s.changes)
	s.changes, s.changesCut = s.changes[:0], false
}

// hearChanges tells the devices that watch.
func (s *shard) hearChanges(list []change, cut bool) {
	if cut {
		for filter, a := range s.audiences {
			s.skip(a, filter)
		}
	}
	for i := range list {
		a := s.audiences[list[i].filter]
		switch {
		case a == nil:
		case s.told >= tellsMax:
			s.skip(a, list[i].filter)
		default:
			s.tellAudience(a, &list[i])
		}
	}
}

// skip tells nobody.
func (s *shard) skip(a *audience, filter string) {
	a.skipped++
	s.behind[filter] = a
}

// tellMissed tells those who missed something that they did, if no change has since.
func (s *shard) tellMissed() {
	told := 0
	for filter, a := range s.behind {
		left := false
		for i := range a.watchers {
			w := &a.watchers[i]
			switch {
			case !w.behind(a):
			case told == tellsMax:
				left = true
			default:
				told++
				s.tellWatcher(a, w, &change{filter: filter})
				left = left || w.behind(a)
			}
		}
		if !left {
			delete(s.behind, filter)
		}
	}
}

// tellAudience tells as many as there is room for in this tick, others each time.
func (s *shard) tellAudience(a *audience, ch *change) {
	room, n := tellsMax-s.told, len(a.watchers)
	for i := range n {
		w := &a.watchers[(a.turn+i)%n]
		if i >= room {
			w.missed, s.behind[ch.filter] = true, a
			continue
		}
		s.tellWatcher(a, w, ch)
	}
	a.turn = (a.turn + min(room, n)) % n
	s.told += min(room, n)
}

// tellWatcher tells one watcher a change, or if that has no client only that it missed some.
func (s *shard) tellWatcher(a *audience, w *watcher, ch *change) {
	c := s.loop.Conn(w.h)
	if c == nil || c.Closing() {
		w.missed, w.seen = false, a.skipped // it leaves
		return
	}
	d := s.devices.At(c.Slot())
	if d.sess == nil || d.sess.ClientID() == ch.client {
		return
	}
	if c.Unsent() > s.cfg.Limits.BatchBytesMax {
		if w.missed, s.behind[ch.filter] = true, a; ch.client != "" {
			s.count.drops[session.DropCongested]++
		}
		return
	}
	enc, _ := d.encoding()
	t := d.tenant()
	s.scratch3 = command.AppendPresenceChange(s.scratch3[:0], enc, t.filterOut(ch.filter), t.idOut(ch.client), ch.joined, w.behind(a))
	w.missed, w.seen = false, a.skipped
	s.say(c, d, s.scratch3)
}

// present is who holds a filter on some shards.
type present struct {
	clients []string
	count   int
	more    bool
	left    int // shards that have not told
}

func (p *present) add(o *present) {
	p.clients = append(p.clients, o.clients...)
	p.count += o.count
	p.more = p.more || o.more
	p.left--
}

// present is who holds a filter here and is connected. It looks at holdersMax of them.
func (s *shard) present(filter []byte) *present {
	p, seen := &present{}, 0
	s.table.EachHolder(filter, func(sub *session.Subscription) bool {
		if seen++; seen > holdersMax {
			p.more = true
			return false
		}
		if sub.Session().Owner() == 0 {
			return true
		}
		if p.count++; len(p.clients) < presentNamed {
			p.clients = append(p.clients, sub.Session().ClientID())
		}
		return true
	})
	return p
}

// onPresence asks every shard who holds a filter; the last answer is the device's.
func (s *shard) onPresence(c *epoll.Conn, d *device, cmd *command.Command) {
	t, of := d.more.talk, d.tenant()
	filter := []byte(of.filterIn(s.rewriteCommand(cmd.Filter, d)))
	switch {
	case !d.sess.Holds(filter):
		s.fail(c, d, cmd, command.ErrNotHeld)
		return
	case t.requests >= s.cfg.Limits.RequestsMax:
		s.fail(c, d, cmd, command.ErrTooMany)
		return
	}
	t.requests++
	all := &present{left: len(s.gw.shards)} // of this shard alone
	owner, id := c.Handle(), cmd.ID
	enc, _ := d.encoding()
	for _, other := range s.gw.shards {
		other.doSoon(func(other *shard) {
			some := other.present(filter)
			s.doSoon(func(s *shard) {
				if all.add(some); all.left > 0 {
					return
				}
				for i := range all.clients {
					all.clients[i] = of.idOut(all.clients[i])
				}
				slices.Sort(all.clients)
				if len(all.clients) > presentNamed {
					all.clients = all.clients[:presentNamed]
				}
				more := all.more || all.count > len(all.clients)
				s.answerLate(owner, command.AppendPresence(nil, enc, id, all.count, all.clients, more))
			})
		})
	}
}
