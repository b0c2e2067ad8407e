package gateway

import "github.com/tidegate/tidegate/bus"

// storedLabels are what became of messages to be stored.
var storedLabels = [bus.StoreGivenUp + 1]string{"stored", "full", "refused", "given_up"}

// durable emits what concerns storing, and the sessions that are kept.
func (e emitter) durable(s *snapshot, g *Gateway) {
	ready := 0.0
	if ok, _ := g.bus.Ready(); ok {
		ready = 1
	}
	e.gauge("gateway_store_ready", ready)
	for i, label := range storedLabels {
		e.counter("gateway_store_answers_total", float64(s.stored[i]), label)
	}
	e.gauge("gateway_store_pending_batches", float64(s.storePending))
	e.counter("gateway_session_records_total", float64(s.recordsWritten), "written")
	e.counter("gateway_session_records_total", float64(s.recordsFenced), "fenced")
	e.counter("gateway_session_records_total", float64(s.adopted), "adopted")
	e.counter("gateway_session_records_total", float64(s.regained), "regained")
	n := g.bus.Counters()
	e.counter("gateway_store_groups_total", float64(n.StoreGroups))
	e.counter("gateway_store_retries_total", float64(n.StoreRetries))
	e.counter("gateway_store_duplicates_total", float64(n.StoreDuplicates))
	e.counter("gateway_log_received_total", float64(n.LogReceived))
	e.counter("gateway_log_skipped_total", float64(n.LogSkipped))
	e.counter("gateway_log_restarts_total", float64(n.LogRestarts))
	e.counter("gateway_session_drops_forgotten_total", float64(n.DropsForgotten))
	e.gauge("gateway_session_records_pending", float64(g.durable.saves.Load()))
	e.counter("gateway_loop_doubts_total", float64(s.doubts))
	e.gauge("gateway_connects_waiting", float64(s.openings))
	e.counter("gateway_connects_forgone_total", float64(s.openingsForgone))
	e.counter("gateway_sessions_behind_total", float64(s.fellBehind))
	e.counter("gateway_catch_up_reads_total", float64(s.catchUpReads))
	e.counter("gateway_messages_replayed_total", float64(s.replayed))
}

// addDurable is part of add.
func (s *snapshot) addDurable(o *snapshot) {
	for i := range s.stored {
		s.stored[i] += o.stored[i]
	}
	s.storePending += o.storePending
	s.openings += o.openings
	s.openingsForgone += o.openingsForgone
	s.recordsWritten += o.recordsWritten
	s.recordsFenced += o.recordsFenced
	s.fellBehind += o.fellBehind
	s.catchUpReads += o.catchUpReads
	s.replayed += o.replayed
	s.adopted += o.adopted
	s.regained += o.regained
	s.doubts += o.doubts
}
