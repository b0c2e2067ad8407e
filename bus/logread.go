package bus

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// A read of a stream's past. It asks the leader where the stream ends, then reads every subject by batched direct gets up to there, all at once, and
// merges what comes by sequence:
//
//	end ──▶ get subject 1 ──▶ (leader: really no more?) ──┐
//	    ──▶ get subject 2 ──▶ (leader: really no more?) ──┴──▶ merge, up to the lowest point that all have reached
//
// Direct gets are answered by whoever has the stream: the leader, a follower or a mirror that is behind, of which a server alone does not even tell that
// it has one. So "no more" proves nothing, and the leader is asked for the next message of that subject; what it has is taken, and the reading goes
// on behind it. That costs 35 µs of CPU (BenchmarkReconnectStorm/leader). The same question reads streams that do not allow direct
// gets, a message at a time.
type logRead struct {
	archive  *archive
	stream   string
	subjects []string
	after    uint64
	count    int
	bytes    int
	natural  []string                                              // the subjects without prefixes; nil: it reads from windows by subjects, or not at all
	probe    string                                                // of a client's QoS 2 messages: those of the subjects without which the others say nothing
	ends     uint64                                                // where those end, 0: the leader is asked
	inner    bool                                                  // it fills a window, as a part of another read
	done     func(msgs []stored, upTo uint64, cut bool, err error) // cut: there is more before the end of the stream

	info  streamInfo
	parts []*part
	left  int // parts that are not finished
	over  bool
}

// part is one subject of a read.
type part struct {
	subject string // empty: the whole stream
	msgs    []stored
	bytes   int
	next    uint64 // everything below is known
	last    uint64 // there is nothing behind that the read wants
	cut     bool   // stopped by count or bytes
	kept    int    // messages when the present question began
	from    uint64 // next when it began
}

// stored is one message of a stream.
type stored struct {
	seq     uint64
	sec     uint32
	subject string
	header  nats.Header
	data    []byte
}

// reads are the reads under way, and those that wait for their turn.
type reads struct {
	archive *archive
	infos   map[string]*infoAsk
	running int
	queue   []*logRead
	decoder decoder
	windows windows
}

const (
	// readsMax is how many reads are under way at once.
	readsMax = 64
	// partCountMin is the least number of messages one subject is asked for at a time.
	partCountMin = 8
)

// start begins a read or has it wait. Called by the archive's goroutine.
func (r *reads) start(l *logRead) {
	l.archive = r.archive
	if r.running >= readsMax {
		r.queue = append(r.queue, l)
		return
	}
	r.running++
	r.archive.info(l.stream, l.begin)
}

// next lets a waiting read begin.
func (r *reads) next() {
	r.running--
	if r.running == 0 {
		r.windows.forget(nil)
	}
	if len(r.queue) == 0 {
		return
	}
	l := r.queue[0]
	r.queue[0] = nil
	r.queue = r.queue[1:]
	r.start(l)
}

// begin reads every subject, now that the end is known.
func (l *logRead) begin(info streamInfo, err error) {
	switch {
	case err != nil:
		l.finish(nil, 0, false, err)
		return
	case info.last <= l.after, len(l.subjects) == 0:
		l.finish(nil, info.last, false, nil)
		return
	}
	l.info = info
	if l.probe != "" && l.ends == 0 {
		l.lookFor(l.probe)
		return
	}
	l.open()
}

// lookFor asks the leader for the last message of a subject: without one that is later than what is known, the read has an end. It is found
// through JetStream's index of subjects, however far back the read would begin.
func (l *logRead) lookFor(subject string) {
	l.ask(&question{
		subject: apiPrefix + "STREAM.MSG.GET." + l.stream, patience: l.archive.patience,
		payload: getRequest{LastFor: subject}.encode(),
		fail:    func(err error) { l.finish(nil, 0, false, err) },
		answer: func(m *nats.Msg) sequel {
			s, e, v := readGot(m)
			switch {
			case v == again:
				return again
			case e != nil && e.ErrCode != errNoMessage:
				l.finish(nil, 0, false, e)
			case e != nil || s.seq <= l.after:
				l.finish(nil, l.info.last, false, nil)
			default:
				l.ends = s.seq
				l.open()
			}
			return finished
		},
	})
}

// open reads every subject.
func (l *logRead) open() {
	info := l.info
	if (l.natural != nil || l.probe != "") && l.archive.reads.running >= shareReads {
		l.archive.reads.windows.pick(l, max(l.after, info.first-1), nil, 0)
		return
	}
	l.left = len(l.subjects)
	for _, s := range l.subjects {
		p := &part{subject: s, next: max(l.after+1, info.first), last: info.last}
		if l.probe != "" && s == l.probe {
			p.last = min(l.ends, info.last)
		}
		l.parts = append(l.parts, p)
	}
	for _, p := range l.parts {
		l.read(p)
	}
}

// finish tells the result, once.
func (l *logRead) finish(msgs []stored, upTo uint64, cut bool, err error) {
	if l.over {
		return
	}
	l.over = true
	l.done(msgs, upTo, cut, err)
	if !l.inner {
		l.archive.reads.next()
	}
}

// getRequest is a direct get, or a get from the leader.
type getRequest struct {
	Seq      uint64   `json:"seq,omitempty"`
	NextFor  string   `json:"next_by_subj,omitempty"`
	LastFor  string   `json:"last_by_subj,omitempty"`
	Batch    int      `json:"batch,omitempty"`
	MaxBytes int      `json:"max_bytes,omitempty"`
	LastOf   []string `json:"multi_last,omitempty"`
}

func (g getRequest) encode() []byte {
	p, _ := json.Marshal(g) // strings and numbers only: it cannot fail
	return p
}

// read asks for the next messages of a part.
func (l *logRead) read(p *part) {
	if l.over {
		return
	}
	if !l.info.direct {
		l.confirm(p)
		return
	}
	q := &question{
		subject: directPrefix + l.stream, patience: l.archive.patience,
		fail: func(err error) { l.finish(nil, 0, false, err) },
	}
	n := len(l.subjects)
	q.payload = getRequest{
		Seq: p.next, NextFor: p.subject,
		Batch:    max(min(l.count, 2*l.count/n)-len(p.msgs), partCountMin),
		MaxBytes: max(min(l.bytes, 2*l.bytes/n)-p.bytes, 1),
	}.encode()
	p.kept, p.from = len(p.msgs), p.next
	last := uint64(0)
	q.answer = func(m *nats.Msg) sequel {
		if v := status(m); v != "" {
			return l.ended(p, m, v)
		}
		s, before, ok := readStored(m)
		if !ok || before != last {
			return again // something between was lost on the way
		}
		last = s.seq
		p.add(s)
		return further
	}
	q.reset = func() {
		p.rewind()
		last = 0
	}
	l.ask(q)
}

// ask asks, unless the read is over, and drops answers that come when it is.
func (l *logRead) ask(q *question) {
	answer := q.answer
	q.answer = func(m *nats.Msg) sequel {
		if l.over {
			return finished
		}
		return answer(m)
	}
	l.archive.ask(q)
}

// rewind forgets what the present question has brought.
func (p *part) rewind() {
	for i := range p.msgs[p.kept:] {
		p.bytes -= p.msgs[p.kept+i].size()
	}
	p.msgs, p.next = p.msgs[:p.kept], p.from
}

func (p *part) add(s stored) {
	p.msgs = append(p.msgs, s)
	p.bytes += s.size()
	p.next = s.seq + 1
}

func (s *stored) size() int { return len(s.subject) + len(s.data) + 64 }

// ended is the end of a direct get.
func (l *logRead) ended(p *part, m *nats.Msg, code string) sequel {
	switch code {
	case "204":
		pending, _ := first(m.Header, "Nats-Num-Pending")
		if pending != "0" && len(p.msgs) == p.kept {
			return again
		}
		if pending != "0" {
			p.cut = true
			l.settle()
			return finished
		}
	case "404":
	default:
		return again
	}
	l.confirm(p)
	return finished
}

// confirm asks the leader for the next message of a part: there is none up to the end, or it is one more.
func (l *logRead) confirm(p *part) {
	if p.next > p.last {
		l.settle()
		return
	}
	l.ask(&question{
		subject: apiPrefix + "STREAM.MSG.GET." + l.stream, patience: l.archive.patience,
		payload: getRequest{Seq: p.next, NextFor: cmp.Or(p.subject, ">")}.encode(),
		fail:    func(err error) { l.finish(nil, 0, false, err) },
		answer: func(m *nats.Msg) sequel {
			s, e, v := readGot(m)
			switch {
			case v == again:
				return again
			case e != nil && e.ErrCode != errNoMessage:
				l.finish(nil, 0, false, e)
			case e != nil || s.seq > l.info.last:
				l.settle()
			default:
				p.add(s)
				if p.cut = len(p.msgs) >= l.count || p.bytes >= l.bytes; p.cut {
					l.settle()
				} else {
					l.read(p)
				}
			}
			return finished
		},
	})
}

// settle counts a finished part; after the last one it merges.
func (l *logRead) settle() {
	if l.left--; l.left > 0 {
		return
	}
	upTo, cut := l.info.last, false
	var all []stored
	for _, p := range l.parts {
		if p.cut && p.next-1 < upTo {
			upTo, cut = p.next-1, true
		}
		all = append(all, p.msgs...)
	}
	if len(l.parts) > 1 {
		slices.SortFunc(all, func(s, t stored) int { return cmp.Compare(s.seq, t.seq) })
		all = slices.CompactFunc(all, func(s, t stored) bool { return s.seq == t.seq })
	}
	n, bytes := 0, 0
	for n < len(all) && all[n].seq <= upTo {
		if n == l.count || bytes >= l.bytes {
			upTo, cut = all[n-1].seq, true
			break
		}
		bytes += all[n].size()
		n++
	}
	l.finish(all[:n], upTo, cut, nil)
}

// readStored reads an answer to a direct get; before is the sequence of the one that came before it in the same answer.
func readStored(m *nats.Msg) (s stored, before uint64, ok bool) {
	last := added(m.Header, "Nats-Last-Sequence")
	s.subject = added(m.Header, "Nats-Subject")
	s.header, s.data = m.Header, m.Data
	var err error
	s.seq, err = strconv.ParseUint(added(m.Header, "Nats-Sequence"), 10, 64)
	t, err2 := time.Parse(time.RFC3339Nano, added(m.Header, "Nats-Time-Stamp"))
	s.sec = uint32(t.Unix())
	if last != "" {
		before, _ = strconv.ParseUint(last, 10, 64)
	}
	return s, before, err == nil && err2 == nil
}

// added is the value of a header that the server adds to a stored message: the last one, since the message may have brought its own.
func added(h nats.Header, name string) string {
	v := h[name]
	if len(v) == 0 {
		return ""
	}
	return v[len(v)-1]
}

// readGot reads the leader's answer to a get.
func readGot(m *nats.Msg) (stored, *apiError, sequel) {
	var r struct {
		Error   *apiError
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Hdrs    []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		}
	}
	if v := readAnswer(m, &r, &r.Error); v == again || r.Error != nil {
		return stored{}, r.Error, v
	}
	s := stored{seq: r.Message.Seq, sec: uint32(r.Message.Time.Unix()), subject: r.Message.Subject, data: r.Message.Data}
	if len(r.Message.Hdrs) > 0 {
		h, err := nats.DecodeHeadersMsg(r.Message.Hdrs)
		if err != nil {
			h = nil
		}
		s.header = h
	}
	return s, nil, finished
}
