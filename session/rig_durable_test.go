package session

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// recordCommand runs the commands that are about records and streams.
func (r *rig) recordCommand(t *testing.T, a *args) {
	if a.word(0) == "kill" {
		l, began := r.table.limits, r.began+r.nowSec-1
		store := r.store
		*r = *newRig(l)
		r.store, r.began = store, began
		return
	}
	s := r.seen[a.word(1)]
	stream := uint16(a.num("stream", 0))
	switch a.word(0) {
	case "save":
		record, token := s.AppendRecord(nil, r.nowSec, r.began+r.nowSec)
		r.store[s.id] = record
		r.say("token=%d %s", token, recordWords(t, record, r.began))
	case "forget":
		r.table.Forget(s, &r.out)
		r.flush("")
	case "log":
		s.LogIsAt(uint64(a.parse(a.word(2))))
	case "seen":
		s.SeenUpTo(stream, uint64(a.parse(a.word(2))))
	case "caughtup":
		s.CaughtUp()
	}
}

func (r *rig) restore(a *args, c *Connect, owner uint64) (*Session, bool) {
	k := Kept{Record: r.store[a.word(1)], WallSec: r.began + r.nowSec, LogAt: uint64(a.num("log", 0))}
	for id := range strings.SplitSeq(a.named["received"], ",") {
		if id != "" {
			k.Received = append(k.Received, uint16(a.parse(id)))
		}
	}
	s, present, err := r.table.Restore(r.nowSec, c, k, owner, &r.out)
	if err != nil {
		a.t.Fatal(err)
	}
	return s, present
}

// recordWords is what a record says; times count from began.
func recordWords(t *testing.T, b []byte, began uint32) string {
	t.Helper()
	var r record
	if err := r.parse(b); err != nil {
		t.Fatalf("%v: %x", err, b)
	}
	if again := r.append(nil); !slices.Equal(b, again) {
		t.Fatalf("record %x is written again as %x", b, again)
	}
	words := []string{fmt.Sprintf("at=%d expiry=%d pos=%d", r.wallSec-began, r.expirySec, r.logPos)}
	add := func(format string, v ...any) { words = append(words, fmt.Sprintf(format, v...)) }
	if r.flags&recordAway != 0 {
		add("away ends=%d", int64(r.endsAtSec)-int64(began))
	}
	if r.flags&recordClean != 0 {
		add("clean")
	}
	again := r.again
	for _, p := range r.streams {
		add("stream %d cursor=%d again=%v", p.stream, p.cursor, again[:p.again])
		again = again[p.again:]
	}
	since := r.since
	for _, f := range r.filters {
		add("filter %s %02x", f.topic, f.options)
		if f.since > 0 {
			add("since %v", since[:f.since])
			since = since[f.since:]
		}
	}
	for _, id := range r.received {
		add("received %d", id)
	}
	for _, e := range r.sent {
		if e.seq == 0 {
			add("released %d", e.id)
		} else {
			add("sent %d seq=%d", e.id, e.seq)
		}
	}
	if r.flags&recordHasWill != 0 {
		add("will %s", r.will.topic)
		if r.flags&recordAway != 0 {
			add("due=%d", r.will.dueAtSec-began)
		}
	}
	return strings.Join(words, ", ")
}
