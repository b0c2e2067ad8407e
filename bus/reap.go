package bus

import (
	"context"
	"encoding/json"
	"time"
)

const (
	// reapRate is how many devices of a dead gateway are turned offline in a second.
	reapRate = 5000
	// reapPage is how many records are read at a time to find them.
	reapPage = 1000
)

// reap turns the devices offline whose records name a lease that ended, and then forgets that lease. Those that are back are left alone: their
// records name another. It goes through the records until there is none left, so what could not be written is found again.
func (p *Presence) reap(ctx context.Context, process string, from uint64) {
	var s *store
	defer func() { s.close() }()
	for ctx.Err() == nil {
		var err error
		found := 0
		if s, err = p.bus.renewed(s); err == nil {
			found, err = p.reapPass(ctx, s, process, from)
		}
		switch {
		case err != nil:
			pause(ctx, presencePause)
		case found == 0:
			if s.forget(ctx, leaseKnown+process) == nil {
				_ = s.forget(ctx, leaseReaper+process)
				return
			}
		default:
			pause(ctx, presencePause) // until the last of them are written
		}
	}
}

// reapPass goes through the records once; found is how many named the lease.
func (p *Presence) reapPass(ctx context.Context, s *store, process string, from uint64) (found int, err error) {
	began := time.Now()
	for next := from; ; {
		if _, err := s.put(ctx, gatewaysPrefix+leaseReaper+process, []byte(p.processName()), lasting(reaperTime)); err != nil {
			return found, err
		}
		left := 0
		err := s.page(ctx, presenceBucket, presencePrefix+">", next, reapPage, func(v kvEntry) {
			next, left = v.revision+1, v.left
			var r presenceRecord
			if v.value == nil || json.Unmarshal(v.value, &r) != nil || !r.Online || r.Process != process {
				return
			}
			found++
			p.note(&PresenceState{Client: r.ClientID, lost: process})
		})
		if err != nil || left == 0 {
			return found, err
		}
		if ahead := time.Duration(found)*time.Second/reapRate - time.Since(began); ahead > 0 {
			pause(ctx, ahead)
		}
		if ctx.Err() != nil {
			return found, ctx.Err()
		}
	}
}

// page reads values of a stream in the order in which they were written.
func (s *store) page(ctx context.Context, stream, subject string, from uint64, most int, each func(v kvEntry)) error {
	return s.read(ctx, stream, &directGet{Seq: max(1, from), Batch: most, MaxBytes: pageBytesMax, NextFor: subject}, each)
}

// pageBytesMax bounds one page.
const pageBytesMax = 4 << 20
