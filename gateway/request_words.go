package gateway

import (
	"encoding/binary"
	"sync/atomic"
	"time"
)

// What gateways tell each other about requests. NATS brings a request to every gateway with a shape that matches, and each knows its own
// devices only, so "nobody" takes all of them:
//
//	taken   these requests have a device here           told within a tick, by whoever has it
//	who     who has these?                              asked by one that has none, when nobody has said so for half of nats.nobody_time
//	none    not we                                      answered by each of the others; when all have, the requester is told
//
// A request that a device takes costs eight bytes in a message to the others; the question comes only for one that nobody took. Who has
// heard the question does not ask it itself, and who asks first is drawn by lot (turn). A gateway that does not answer leaves the requester
// to its own timeout: silence is never taken for no.
//
//	message:  version(1) kind(1) gateway(8) item*
//	taken:    hash(8)        none: asker(8) hash(8)*        who: hash(8) length(2) topic
const (
	wordVersion = 1
	wordHead    = 10
	wordTaken   = 1
	wordWho     = 2
	wordNone    = 3

	// wordItemsMax is how many items go in one message.
	wordItemsMax = 512
)

// hashReply names a request among gateways (FNV-1a).
func hashReply(reply string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(reply) {
		h = (h ^ uint64(reply[i])) * 1099511628211
	}
	return h
}

// turn is how much later than the first this gateway asks for a request: a lot, drawn from both.
func (x *requests) turn(e *followed) time.Duration {
	return time.Duration((e.hash^x.gw.claims.self)*0x9E3779B97F4A7C15>>62) * requestTick
}

func (x *requests) word(kind byte) []byte {
	return binary.BigEndian.AppendUint64([]byte{wordVersion, kind}, x.gw.claims.self)
}

// tellTaken must be called with the lock held.
func (x *requests) tellTaken() {
	for len(x.taken) > 0 {
		p := x.word(wordTaken)
		n := min(len(x.taken), wordItemsMax)
		for _, h := range x.taken[:n] {
			p = binary.BigEndian.AppendUint64(p, h)
		}
		x.words = append(x.words, p)
		x.taken = x.taken[n:]
	}
	x.taken = nil
}

// askOthers must be called with the lock held.
func (x *requests) askOthers(questions []*followed) {
	for i := 0; i < len(questions); {
		p := x.word(wordWho)
		for n := 0; n < wordItemsMax && i < len(questions) && len(p) < claimBytes; n, i = n+1, i+1 {
			e := questions[i]
			p = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64(p, e.hash), uint16(len(e.topic)))
			p = append(p, e.topic...)
		}
		x.words = append(x.words, p)
	}
}

// hear takes a word of another gateway. It runs on a bus goroutine and may wait for a shard's inbox. What it does not understand it
// leaves: a later version is to say it otherwise.
func (x *requests) hear(p []byte) {
	if len(p) < wordHead || p[0] != wordVersion {
		return
	}
	by, rest := binary.BigEndian.Uint64(p[2:]), p[wordHead:]
	switch {
	case by == x.gw.claims.self:
	case p[1] == wordTaken:
		x.hearTaken(rest)
	case p[1] == wordNone && len(rest) >= 8 && binary.BigEndian.Uint64(rest) == x.gw.claims.self:
		x.hearNone(rest[8:])
	case p[1] == wordWho:
		x.hearWho(by, rest)
	}
}

func (x *requests) hearTaken(p []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for ; len(p) >= 8; p = p[8:] {
		if e := x.byHash[binary.BigEndian.Uint64(p)]; e != nil {
			e.fate |= fateElsewhere
		}
	}
}

func (x *requests) hearNone(p []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for ; len(p) >= 8; p = p[8:] {
		if e := x.byHash[binary.BigEndian.Uint64(p)]; e != nil && e.asked {
			e.nays++
		}
	}
}

// question is a request that another gateway asks for.
type question struct {
	hash  uint64
	topic []byte
	here  atomic.Bool
}

func (x *requests) hearWho(by uint64, p []byte) {
	list := make([]*question, 0, 8)
	x.mu.Lock()
	for len(p) >= 10 {
		q := &question{hash: binary.BigEndian.Uint64(p)}
		n := int(binary.BigEndian.Uint16(p[8:]))
		if p = p[10:]; len(p) < n {
			break
		}
		q.topic, p = p[:n], p[n:]
		if e := x.byHash[q.hash]; e != nil {
			q.here.Store(e.fate&(fateTaken&^fateElsewhere|fateDropped) != 0)
			e.heard = e.heard || e.fate&fateTaken == 0 && !e.asked
		}
		list = append(list, q)
	}
	x.mu.Unlock()
	if len(list) == 0 {
		return
	}
	// The request may be still on its way to us, or just be done: what counts then is whether a device would get it.
	var left atomic.Int32
	left.Store(int32(len(x.gw.shards)))
	for _, s := range x.gw.shards {
		x.gw.tellShard(s, func(s *shard) {
			for _, q := range list {
				if !q.here.Load() && s.hears(q.topic) {
					q.here.Store(true)
				}
			}
			if left.Add(-1) == 0 {
				x.reply(by, list)
			}
		})
	}
}

// reply tells who asked which of the requests have a device here, and which have none. The last shard that looked calls it.
func (x *requests) reply(by uint64, list []*question) {
	taken, none := x.word(wordTaken), binary.BigEndian.AppendUint64(x.word(wordNone), by)
	for _, q := range list {
		if q.here.Load() {
			taken = binary.BigEndian.AppendUint64(taken, q.hash)
		} else {
			none = binary.BigEndian.AppendUint64(none, q.hash)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(taken) > wordHead {
		x.words = append(x.words, taken)
	}
	if len(none) > wordHead+8 {
		x.words = append(x.words, none)
	}
	x.rouse()
}
