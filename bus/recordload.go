package bus

import (
	"time"

	"github.com/nats-io/nats.go"
)

// loads are the subjects that travel in one request, and who wants to know each.
type loads struct {
	callers map[string][]func(SessionRecord, error)
	last    uint64 // sequence of the last answer of this try
}

// load reads one record: from the leader after a conflict, else with the others of this moment.
func (r *records) load(subject string, done func(SessionRecord, error)) {
	if _, doubted := r.doubted[subject]; doubted {
		delete(r.doubted, subject)
		r.last(subject, r.archive.patience, done)
		return
	}
	if r.loads == nil {
		r.loads = &loads{callers: make(map[string][]func(SessionRecord, error))}
		time.AfterFunc(loadGatherTime, func() { r.archive.order(r.sendLoads) })
	}
	r.loads.callers[subject] = append(r.loads.callers[subject], done)
	if len(r.loads.callers) >= loadsMax {
		r.sendLoads()
	}
}

// sendLoads asks for the records of the loads that have gathered.
func (r *records) sendLoads() {
	l := r.loads
	if l == nil {
		return
	}
	r.loads = nil
	r.ask(l, func() {})
}

// ask asks for the records of all subjects, and calls done when every caller has an answer.
func (r *records) ask(l *loads, done func()) {
	q := &question{subject: directPrefix + sessionStream, payload: l.request(), patience: r.archive.patience}
	q.answer = func(m *nats.Msg) sequel {
		v := l.answer(m)
		if v == finished {
			done()
		}
		return v
	}
	q.fail = func(err error) {
		l.rest(err)
		done()
	}
	q.reset = func() {
		l.last = 0
		q.payload = l.request()
	}
	r.archive.ask(q)
}

func (l *loads) request() []byte {
	subjects := make([]string, 0, len(l.callers))
	for s := range l.callers {
		subjects = append(subjects, s)
	}
	return getRequest{LastOf: subjects}.encode()
}

func (l *loads) answer(m *nats.Msg) sequel {
	code := status(m)
	if code == "" {
		s, before, ok := readStored(m)
		if !ok || before != l.last {
			return again // something between was lost on the way
		}
		l.last = s.seq
		l.tell(s.subject, recordOf(&s), nil)
		return further
	}
	pending, _ := first(m.Header, "Nats-Num-Pending")
	why, _ := first(m.Header, "Description")
	if (code == "204" && pending == "0") || (code == "404" && why == "No Results") {
		l.rest(nil)
		return finished
	}
	return again
}

// tell answers those who want to know a subject.
func (l *loads) tell(subject string, record SessionRecord, err error) {
	callers := l.callers[subject]
	delete(l.callers, subject)
	for _, done := range callers {
		done(record, err)
	}
}

// rest answers those about whom nothing came: there is no record, or the question failed.
func (l *loads) rest(err error) {
	for subject := range l.callers {
		l.tell(subject, SessionRecord{}, err)
	}
}
