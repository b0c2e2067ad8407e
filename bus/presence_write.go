package bus

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// presenceBatch is how many clients are read and written at a time. JetStream gives 1,024 values at a time, and a client has three at most.
	presenceBatch = 340
	// presenceBatchBytes bounds the keys of one batch, which travel in one message.
	presenceBatchBytes = 256 << 10
	// presenceGather is how long changes gather. With 1, 10 and 20 ms a connect and its disconnect cost about the same when many come at a
	// time; when few do, the reading is shared by more.
	presenceGather = 10 * time.Millisecond
	// presencePause is how long the writer waits after NATS was away or refused a write.
	presencePause = 250 * time.Millisecond
)

// presenceWriter is the goroutine that writes. All is its own.
type presenceWriter struct {
	p     *Presence
	store *store

	batch  []*presenceEntry
	read   map[string]presenceKnown // by key
	writes []presenceChange         // by place in batch
	again  []*presenceEntry
}

// presenceChange is a write under way.
type presenceChange struct {
	record presenceRecord
	done   int  // states that it deals with
	open   bool // sent, and not yet confirmed
}

// write writes what is noted until ctx ends, or Close has been called and nothing is left.
func (p *Presence) write(ctx context.Context) {
	w := &presenceWriter{p: p, read: make(map[string]presenceKnown, presenceBatch)}
	defer func() { w.store.close() }()
	for ctx.Err() == nil {
		if !w.connected() { // nothing is taken that could only be put back
			pause(ctx, presencePause)
			continue
		}
		batch := p.take(ctx, presenceBatch)
		if batch == nil {
			return
		}
		err := w.writeBatch(ctx, batch)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			pause(ctx, presencePause)
		case len(batch) < presenceBatch:
			pause(ctx, presenceGather)
		}
	}
}

// connected has the store on the present wire; false: there is none.
func (w *presenceWriter) connected() bool {
	s, err := w.p.bus.renewed(w.store)
	w.store = s
	return err == nil
}

// pause waits for d, or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// writeBatch brings the records of a batch up to date. What it could not write is taken back.
func (w *presenceWriter) writeBatch(ctx context.Context, batch []*presenceEntry) (err error) {
	w.batch, w.again = batch, w.again[:0]
	if err := w.load(ctx); err != nil {
		w.p.put(batch)
		return err
	}
	n, err := w.send()
	if err == nil {
		err = w.confirm(ctx, n)
	}
	for i := range w.writes {
		if w.writes[i].open { // perhaps it is stored: that is read before anything else
			w.p.count.failed.Add(1)
			w.retry(batch[i])
		}
	}
	if len(w.again) > 0 {
		w.p.put(append([]*presenceEntry(nil), w.again...))
	}
	clear(w.batch)
	return err
}

// renewed is storeOf for who has one already and closes the old one.
func (b *Bus) renewed(s *store) (*store, error) {
	next, err := b.storeOf(s)
	if err != nil {
		return s, err
	}
	if next != s {
		s.close()
	}
	return next, nil
}

// retry has an entry looked at again from the beginning.
func (w *presenceWriter) retry(e *presenceEntry) {
	e.known = nil
	w.again = append(w.again, e)
}

// load reads what was stored last of each client: from the stream, or if that is too long ago from the bucket.
func (w *presenceWriter) load(ctx context.Context) error {
	clear(w.read)
	var q directGet
	for _, e := range w.batch {
		if e.known == nil {
			q.MultiLast = append(q.MultiLast, presenceState+"*."+e.key)
		}
	}
	if len(q.MultiLast) == 0 {
		return nil
	}
	err := w.store.read(ctx, presenceStream, &q, func(v kvEntry) {
		_, key, _ := strings.Cut(strings.TrimPrefix(v.subject, presenceState), ".")
		if v.revision > w.read[key].revision {
			w.learn(key, v.revision, v.value)
		}
	})
	if err != nil {
		return err
	}
	q.MultiLast = q.MultiLast[:0]
	for _, e := range w.batch {
		if _, ok := w.read[e.key]; !ok && e.known == nil {
			q.MultiLast = append(q.MultiLast, presencePrefix+e.key)
		}
	}
	if len(q.MultiLast) == 0 {
		return nil
	}
	return w.store.read(ctx, presenceBucket, &q, func(v kvEntry) {
		w.learn(strings.TrimPrefix(v.subject, presencePrefix), 0, v.value)
	})
}

func (w *presenceWriter) learn(key string, revision uint64, value []byte) {
	k := presenceKnown{revision: revision}
	if json.Unmarshal(value, &k.record) != nil {
		k.record = presenceRecord{} // somebody else's: ours replaces it
	}
	w.read[key] = k
}

// send judges what is there of each client and writes what is to come next; n is how many there are.
func (w *presenceWriter) send() (n int, err error) {
	w.writes = append(w.writes[:0], make([]presenceChange, len(w.batch))...)
	inbox, process := w.store.ask()+".", w.p.processName()
	for i, e := range w.batch {
		known := w.read[e.key]
		if e.known != nil {
			known = *e.known
		}
		c := &w.writes[i]
		if c.record, c.open, c.done = judge(&known.record, e.states, w.p.bus.options.Node, process); !c.open {
			w.settle(e, &known.record)
			continue
		}
		n++
		m := &nats.Msg{Subject: presenceState + c.record.EventType + "." + e.key, Reply: inbox + strconv.Itoa(i), Data: c.record.encode()}
		m.Header = lasting(0)
		if !c.record.Online {
			m.Header = lasting(w.p.o.Keep)
		}
		m.Header[nats.ExpectedLastSubjSeqHdr] = []string{strconv.FormatUint(known.revision, 10)}
		m.Header["Nats-Expected-Last-Subject-Sequence-Subject"] = []string{presenceState + "*." + e.key}
		if err := w.store.nc.PublishMsg(m); err != nil {
			return n, ErrDisconnected
		}
	}
	return n, nil
}

// settle is the end of an entry that changes nothing.
func (w *presenceWriter) settle(e *presenceEntry, was *presenceRecord) {
	if was.VersionNumber > e.states[len(e.states)-1].Generation {
		w.p.count.superseded.Add(1)
	}
	for i := range e.states {
		if lost := e.states[i].lost; lost != "" && was.Process == lost && was.Reason == ReasonGatewayLost {
			w.tellLost(was) // an ack was lost
		}
	}
}

// confirm waits for n acks.
func (w *presenceWriter) confirm(ctx context.Context, n int) (err error) {
	deadline := time.NewTimer(storeTime)
	defer deadline.Stop()
	for ; n > 0; n-- {
		m, rest, failed := w.store.next(ctx, deadline.C)
		if failed != nil {
			return failed
		}
		i, bad := strconv.Atoi(rest[min(1, len(rest)):])
		if bad != nil || i < 0 || i >= len(w.batch) || !w.writes[i].open {
			n++ // not ours: somebody guesses
			continue
		}
		revision, refused := readAck(m)
		switch {
		case refused == nil:
			w.stored(w.batch[i], &w.writes[i], revision)
		case errors.Is(refused, errFenced):
			w.writes[i].open = false
			w.p.count.conflicts.Add(1)
			w.retry(w.batch[i])
		default:
			err = refused // it stays open
		}
	}
	return err
}

// stored notes that a change is stored, and goes on with the next state of the client if there is one.
func (w *presenceWriter) stored(e *presenceEntry, c *presenceChange, revision uint64) {
	c.open = false
	w.p.count.written.Add(1)
	if c.record.Reason == ReasonGatewayLost {
		w.tellLost(&c.record)
	}
	if e.states = e.states[c.done:]; len(e.states) > 0 {
		e.known = &presenceKnown{c.record, revision}
		w.again = append(w.again, e)
	}
}

func (w *presenceWriter) tellLost(r *presenceRecord) {
	w.p.count.lost.Add(1)
	if w.p.o.Lost != nil {
		w.p.o.Lost(r.ClientID, r.VersionNumber)
	}
}
