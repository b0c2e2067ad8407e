package bus

import (
	"bytes"
	"strconv"

	"github.com/nats-io/nats.go"
)

// save is one write of a record.
type save struct {
	subject  string
	value    []byte
	revision uint64 // what must be there
	done     func(revision uint64, err error)
}

// save writes a record until JetStream says what became of it.
func (r *records) save(s *save, ttlSec uint32) {
	header := nats.Header{"Nats-Expected-Last-Subject-Sequence": {strconv.FormatUint(s.revision, 10)}}
	if ttlSec > 0 {
		header["Nats-TTL"] = []string{strconv.FormatUint(uint64(ttlSec), 10)}
	}
	q := &question{subject: s.subject, payload: s.value, header: header}
	q.fail = func(err error) { s.done(0, err) }
	q.answer = func(m *nats.Msg) sequel {
		var a struct {
			Error *apiError
			Seq   uint64 `json:"seq"`
		}
		v := readAnswer(m, &a, &a.Error)
		switch {
		case v == again:
		case a.Error == nil:
			s.done(a.Seq, nil)
		case a.Error.ErrCode == errWrongLastSequence || a.Error.ErrCode == errWrongLastSequence2:
			r.settle(q, s)
		default:
			s.done(0, a.Error)
		}
		return v
	}
	r.archive.ask(q)
}

// settle finds out why a save was refused. What the leader has is another's, and the save came too late; or it is our own, from a try whose answer was
// lost; or it is still what the save expected: a write was under way that came to nothing, so the save is tried again.
func (r *records) settle(q *question, s *save) {
	tries := q.tries
	r.last(s.subject, 0, func(now SessionRecord, err error) {
		switch {
		case err != nil:
			s.done(0, err)
		case now.Revision == s.revision:
			r.archive.rest(q)
		case tries > 1 && now.Revision > s.revision && bytes.Equal(now.Value, s.value):
			s.done(now.Revision, nil)
		default:
			r.doubt(s.subject)
			r.archive.bus.count.recordsFenced.Add(1)
			s.done(0, ErrFenced)
		}
	})
}

// doubt has the leader answer the next load of a subject.
func (r *records) doubt(subject string) {
	if r.doubted == nil || len(r.doubted) >= doubtedMax {
		r.doubted = make(map[string]struct{})
	}
	r.doubted[subject] = struct{}{}
}
