package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/epoll"
)

// drainStep is how often the shards are told to send devices away, loopAnswerTime how long a loop may take to do it.
const (
	drainStep      = 50 * time.Millisecond
	loopAnswerTime = 5 * time.Second
)

// drain sends every device away at the configured pace and returns when they are gone, or Drain.Time has passed.
func (g *Gateway) drain() {
	g.draining.Store(true)
	g.log.Info().Int("rate", g.cfg.Drain.Rate).Stringer("at_most", g.cfg.Drain.Time).Msg("draining")
	began := time.Now()
	step := time.NewTicker(drainStep)
	defer step.Stop()
	for told := 0; ; {
		quota := 1 << 30
		if r := g.cfg.Drain.Rate; r > 0 {
			quota = int(time.Since(began).Seconds()*float64(r)) + 1 - told
		}
		left, said := g.drainSome(max(0, quota))
		told += said
		if left == 0 {
			return
		}
		if time.Since(began) > g.cfg.Drain.Time {
			g.log.Warn().Int("left", left).Msg("drain time is over: closing the rest")
			return
		}
		<-step.C
	}
}

// drainSome has the shards say goodbye to quota devices in all; left is what is still open or held back.
func (g *Gateway) drainSome(quota int) (left, said int) {
	type answer struct{ left, said int }
	answers := make(chan answer, len(g.shards))
	var budget atomic.Int64
	budget.Store(int64(quota))
	for _, s := range g.shards {
		s.doSoon(func(s *shard) {
			left, said := s.drain(&budget)
			answers <- answer{left, said}
		})
	}
	deadline := time.After(loopAnswerTime)
	for range g.shards {
		select {
		case a := <-answers:
			left, said = left+a.left, said+a.said
		case <-deadline: // a loop that ended or hangs must not keep the process from stopping
			return left + 1, said
		}
	}
	return left, said
}

// drain says goodbye to devices while the budget of all shards lasts.
func (s *shard) drain(budget *atomic.Int64) (left, said int) {
	if !s.draining {
		s.draining = true
		s.loop.EmptyListeners()
	}
	s.loop.Each(func(c *epoll.Conn) {
		d := s.devices.At(c.Slot())
		if d.unwelcome {
			return // it is told when it has sent CONNECT, and that is soon
		}
		if budget.Add(-1) >= 0 {
			s.close(c, d, reasonShutdown)
			said++
		}
	})
	left = s.loop.Stats().Conns + len(s.moving) + s.uplink.heldBatches()
	if s.gw.bus.Status().Connected() { // what is not stored is not acknowledged; without NATS nobody need wait for it
		left += s.storing.pending + s.saving
	}
	return left, said
}

// flushTime is how long a stopping gateway waits at least for NATS to take what devices published.
const flushTime = 5 * time.Second

// flush hands NATS what is left once the loops have ended, and closes the bus. What NATS does not take in time is lost, and said.
func (g *Gateway) flush() error {
	ctx, cancel := context.WithTimeout(context.Background(), max(flushTime, g.cfg.Drain.Time))
	defer cancel()
	lost := 0
	for _, s := range g.shards {
		for !s.retryStoring() && ctx.Err() == nil && g.bus.Status().Connected() {
			time.Sleep(drainStep)
		}
		toNATS := &s.uplink.outlets[0]
		for len(toNATS.backlog) > 0 {
			if toNATS.offer(toNATS.backlog[0]) {
				toNATS.backlog = toNATS.backlog[1:]
				continue
			}
			select {
			case <-ctx.Done():
				for _, b := range toNATS.backlog {
					lost += b.Len()
				}
				toNATS.backlog = nil
			case <-time.After(drainStep):
			}
		}
	}
	g.awaitSaves(ctx)
	err := g.bus.Close(ctx)
	if lost > 0 {
		err = errors.Join(err, fmt.Errorf("%d messages of devices were not taken by NATS before the end", lost))
	}
	return err
}
