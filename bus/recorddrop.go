package bus

import (
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"
)

// DropsMax is how many clients may wait in DropSessionIfThere.
const DropsMax = 65536

const (
	// dropGatherTime is how long wishes gather, and dropsUnderWay how many questions of loadsMax clients are asked at a time.
	dropGatherTime = 100 * time.Millisecond
	dropsUnderWay  = 4
)

// dropWish is one client of DropSessionIfThere.
type dropWish struct {
	subject string
	before  uint64
}

// drop removes the record of a subject if it still has the revision: a purge of the subject below the next sequence cannot reach a newer one, and leaves
// nothing, where KV's own delete leaves a marker.
func (r *records) drop(subject string, revision uint64, done func(error)) {
	if revision == 0 {
		done(nil)
		return
	}
	payload, _ := json.Marshal(struct {
		Filter string `json:"filter"`
		Seq    uint64 `json:"seq"`
	}{subject, revision + 1}) // cannot fail
	r.archive.ask(&question{
		subject: apiPrefix + "STREAM.PURGE." + sessionStream, payload: payload, fail: done,
		answer: func(m *nats.Msg) sequel {
			var a struct{ Error *apiError }
			v := readAnswer(m, &a, &a.Error)
			switch {
			case v == again:
			case a.Error != nil:
				done(a.Error)
			default:
				done(nil)
			}
			return v
		},
	})
}

// dropIfThere notes a wish; a timer sees to it.
func (r *records) dropIfThere(subject string, before uint64) {
	if len(r.drops) >= DropsMax {
		r.drops = r.drops[1:]
		r.archive.bus.count.dropsForgotten.Add(1)
	}
	r.drops = append(r.drops, dropWish{subject, before})
	r.wakeForDrops()
}

func (r *records) wakeForDrops() {
	if r.waking || len(r.drops) == 0 {
		return
	}
	r.waking = true
	time.AfterFunc(dropGatherTime, func() { r.archive.order(r.sendDrops) })
}

// sendDrops looks which of the clients have a record, in questions of loadsMax.
func (r *records) sendDrops() {
	r.waking = false
	for len(r.drops) > 0 && r.looking < dropsUnderWay && r.archive.wire != nil {
		n := min(len(r.drops), loadsMax)
		l := &loads{callers: make(map[string][]func(SessionRecord, error))}
		for _, d := range r.drops[:n] {
			l.callers[d.subject] = append(l.callers[d.subject], func(record SessionRecord, err error) {
				switch {
				case err != nil && !r.archive.ended:
					r.dropIfThere(d.subject, d.before)
				case err == nil && len(record.Value) > 0 && record.generation() < d.before:
					r.drop(d.subject, record.Revision, func(error) {})
				}
			})
		}
		r.drops = r.drops[n:]
		r.looking++
		r.ask(l, func() { r.looking-- })
	}
	if len(r.drops) == 0 {
		r.drops = nil
	}
	r.wakeForDrops()
}
