package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// liveKind is what a live connection speaks, as a metric label.
type liveKind uint8

const (
	live31 liveKind = iota
	live311
	live5
	liveWS31
	liveWS311
	liveWS5
	livePlain
	liveJSON
	liveCBOR
	liveEcho
	liveKinds
)

var liveLabels = [liveKinds][2]string{ // transport, protocol
	{"tcp", "mqtt3.1"}, {"tcp", "mqtt3.1.1"}, {"tcp", "mqtt5"}, {"ws", "mqtt3.1"}, {"ws", "mqtt3.1.1"}, {"ws", "mqtt5"},
	{"ws", "plain"}, {"ws", "json"}, {"ws", "bin"}, {"ws", "echo"},
}

// counters are a shard's own: plain numbers, added to by its loop alone and copied at a scrape.
type counters struct {
	opened, connects, refusedConnects, upgrades, takeovers        uint64
	live                                                          [liveKinds]int64
	closed                                                        [reasonCount]uint64
	packetsIn, packetsOut                                         [16]uint64
	messagesIn, messagesOut                                       [4]uint64 // by QoS
	drops                                                         [session.DropReasons]uint64
	refused, retainedFull, badCommands, willsLost, turnsEnded     uint64
	workMost                                                      int // in a tick, see work.go
	redelivered                                                   uint64
	pauses, lateTicks, movedOut, panics                           uint64
	rests, slowed, flapped, duels, bannedUnheard                  uint64
	rewrites, autoSubscribed, autoRefused                         uint64
	payloadIn, payloadOut                                         uint64 // bytes
	takenElsewhere                                                uint64
	turnedAway                                                    [verdictCount]uint64
	authentications                                               [authResults]uint64
	chainAnswers                                                  [chainResults]uint64
	aliasBytesIn, aliasBytesOut                                   int64 // topics kept for aliases
	aliasBytesSaved                                               uint64
	callsRefused                                                  uint64
	denied                                                        [deniedActions]uint64
	expelled                                                      uint64                       // devices that new rules took something from
	stored                                                        [bus.StoreGivenUp + 1]uint64 // answers for messages to be stored
	recordsWritten, recordsFenced, openingsForgone                uint64
	fellBehind, catchUpReads, replayed, adopted, regained, doubts uint64
}

// snapshot is what one shard tells a scrape.
type snapshot struct {
	counters
	loop                            epoll.Stats
	sessions, sessionsLive, filters int
	queued, queuedBytes, keptBytes  int
	heldBatches, pausedPublishers   int
	replays, orphans                int
	storePending, openings          int
	expired                         uint64 // sessions whose time was over
	taken                           time.Time
	lag                             time.Duration // how long the loop took to answer
}

func (s *shard) snapshot() snapshot {
	return snapshot{
		counters: s.count, loop: s.loop.Stats(),
		sessions: s.table.Len(), sessionsLive: s.table.Live(), filters: s.table.Subscriptions(),
		queued: s.table.Queued(), queuedBytes: s.table.QueuedBytes(), keptBytes: s.table.KeptBytes(),
		heldBatches: s.uplink.heldBatches(), pausedPublishers: len(s.uplink.paused), replays: len(s.replays),
		expired: s.table.Expired(),
		orphans: s.table.Orphans(), storePending: s.storing.pending, openings: len(s.openings),
	}
}

// scrapeTime is how long a scrape waits for the loops.
const scrapeTime = 2 * time.Second

// snapshots asks every shard; one that does not answer in time is told as it was last, and ok is false.
func (g *Gateway) snapshots() (all []snapshot, ok bool) {
	type answer struct {
		i int
		s snapshot
	}
	answers := make(chan answer, len(g.shards))
	asked := time.Now()
	for i, s := range g.shards {
		s.do(func(s *shard) {
			snap := s.snapshot()
			snap.taken = time.Now()
			snap.lag = snap.taken.Sub(asked)
			answers <- answer{i, snap}
		})
	}
	deadline := time.After(scrapeTime)
	all, ok = make([]snapshot, len(g.shards)), true
	for range g.shards {
		select {
		case a := <-answers:
			all[a.i] = a.s
		case <-deadline:
			ok = false
		}
		if !ok {
			break
		}
	}
	g.lastMu.Lock()
	defer g.lastMu.Unlock()
	for i := range all {
		// Who asked later may be here first: no counter goes back, and nobody is told less than was true when they asked.
		if last := &g.last[i]; all[i].taken.After(last.taken) {
			*last = all[i]
		} else {
			all[i] = *last
		}
	}
	return all, ok
}

// collector turns the shards' counters into Prometheus metrics at scrape.
type collector struct {
	g    *Gateway
	desc map[string]*prometheus.Desc
}

// metricTable is the metrics with help and labels; docs/operations.md lists them.
var metricTable = []struct {
	name, help string
	labels     []string
}{
	{"gateway_connections", "Live devices.", []string{"transport", "protocol"}},
	{"gateway_sockets", "Open sockets, live or not.", []string{"loop"}},
	{"gateway_accepted_total", "Accepted connections.", nil},
	{"gateway_accept_errors_total", "Accepts that failed.", nil},
	{"gateway_accept_pauses_total", "Times a loop's listeners paused: descriptors ran out, or too many were refused.", nil},
	{"gateway_accept_refused_total", "Connections that may not stay: told so (full, draining, listener_full, listener_rate, address_full, address_rate, memory, lag), or ended at once (banned, reset, descriptors).", []string{"reason"}},
	{"gateway_connections_max", "Connections that there is room for.", nil},
	{"gateway_connects_total", "Devices that got a session, or were refused one.", []string{"result"}},
	{"gateway_authentications_total", "Authentications with a method by result, and connects that lacked one.", []string{"result"}},
	{"gateway_auth_answers_total", "Answers about devices by who is asked in a chain (as CHAIN/NUMBER/TYPE): allow, deny, pass, failed (could not tell), cached, shared (one question for more than one device), busy (too many waited) and spared (its breaker was open).", []string{"provider", "result"}},
	{"gateway_auth_reloads_total", "Files and key sets of those in a chain, auth.scram_file and auth.jwt_secret_file, that were read after the start: loaded (something had changed), same, and failed (what was there holds).", []string{"provider", "result"}},
	{"gateway_auth_waiting", "Devices that wait for one of a chain.", []string{"provider"}},
	{"gateway_auth_breaker_open", "1 while one of a chain is not asked, as it failed several times in succession.", []string{"provider"}},
	{"gateway_auth_longest_seconds", "Longest time to an answer since the start.", []string{"provider"}},
	{"gateway_auth_throttled_total", "Passwords that were not tried after too many wrong ones from an address, or for a name.", []string{"by"}},
	{"gateway_auth_connects_total", "CONNECTs by what became of them at their chain.", []string{"result"}},
	{"gateway_websocket_upgrades_total", "WebSocket handshakes.", nil},
	{"gateway_takeovers_total", "Connections closed because their client id connected again, here or to another gateway (elsewhere).", []string{"where"}},
	{"gateway_peers", "Other gateways that are heard on this NATS.", nil},
	{"gateway_claims_total", "Client ids claimed from other gateways (sent), by them (heard), or not told to them (lost).", []string{"what"}},
	{"gateway_disconnects_total", "Ended connections by reason.", []string{"reason"}},
	{"gateway_packets_received_total", "MQTT packets from devices.", []string{"type"}},
	{"gateway_packets_sent_total", "MQTT packets to devices.", []string{"type"}},
	{"gateway_messages_received_total", "Messages that devices published.", []string{"qos"}},
	{"gateway_messages_sent_total", "Messages sent to devices.", []string{"qos"}},
	{"gateway_received_bytes_total", "Bytes read from devices.", nil},
	{"gateway_sent_bytes_total", "Bytes written to devices.", nil},
	{"gateway_topic_alias_bytes", "Bytes of topics kept for topic aliases, of devices (in) and towards them (out).", []string{"direction"}},
	{"gateway_topic_alias_saved_bytes_total", "Bytes of topics not sent to devices, as they know them by alias.", nil},
	{"gateway_messages_dropped_total", "Messages to devices that were dropped.", []string{"reason"}},
	{"gateway_messages_refused_total", "Messages of devices that were refused.", nil},
	{"gateway_retained_messages", "Topics with a retained message.", nil},
	{"gateway_retained_bytes", "Bytes of retained messages and their topics.", nil},
	{"gateway_retained_refused_total", "Retained messages not kept because there are too many.", nil},
	{"gateway_retained_bucket_total", "What became of retained messages on their way to and from the bucket TG_retained.", []string{"event"}},
	{"gateway_retained_pending", "Topics whose retained message is not yet in the bucket TG_retained.", nil},
	{"gateway_commands_bad_total", "Commands of plain devices that could not be read.", nil},
	{"gateway_requests_total", "Requests of backends that the gateway answered itself, by outcome; unknown and untracked were left unanswered.", []string{"outcome"}},
	{"gateway_requests_followed", "Requests of backends whose outcome is not yet settled, or was just now.", nil},
	{"gateway_acl_denied_total", "What devices were not permitted: messages to publish, subscriptions, wills, and messages not delivered to them.", []string{"action"}},
	{"gateway_acl_rules", "Rules of acl.file in force.", nil},
	{"gateway_acl_reloads_total", "Times that acl.file was read again, and taken (ok) or left (failed): then the rules before stay in force.", []string{"result"}},
	{"gateway_tenant_connections", "Connected devices of a tenant.", []string{"tenant"}},
	{"gateway_tenant_subscriptions", "Subscriptions of a tenant's devices, also of those that are away.", []string{"tenant"}},
	{"gateway_tenant_retained", "Topics of a tenant with a retained message.", []string{"tenant"}},
	{"gateway_tenant_retained_bytes", "Bytes of these messages, with their topics.", []string{"tenant"}},
	{"gateway_tenant_queued_bytes", "Bytes that wait for devices of a tenant with queue_bytes_max.", []string{"tenant"}},
	{"gateway_tenant_refused_total", "What a limit of a tenant refused.", []string{"tenant", "limit"}},
	{"gateway_acl_expelled_total", "Devices disconnected because new rules took a subscription or the will from them.", nil},
	{"gateway_calls_refused_total", "Answers of devices to requests that no backend made here.", nil},
	{"gateway_sessions", "Sessions.", []string{"state"}},
	{"gateway_subscriptions", "Filters of all sessions.", nil},
	{"gateway_topics_rewritten_total", "Topics and filters that a rule of topic_rewrite took for others.", nil},
	{"gateway_auto_subscriptions_total", "Subscriptions by rules of auto_subscribe that were made, or refused.", []string{"result"}},
	{"gateway_queued_messages", "Messages waiting for devices.", nil},
	{"gateway_queued_bytes", "Bytes waiting for devices.", nil},
	{"gateway_kept_bytes", "Bytes of messages kept for devices, in flight, queued and wills.", nil},
	{"gateway_shared_redelivered_total", "Messages of shared subscriptions given to another member, because theirs went.", nil},
	{"gateway_shared_orphans", "Messages of shared subscriptions that lost their member and are not yet given to another.", nil},
	{"gateway_connection_buffer_bytes", "Bytes of incomplete packets from devices, and of packets not yet written to them.", []string{"direction"}},
	{"gateway_replays", "Retained replays under way, but for those that wait for their device.", nil},
	{"gateway_backpressure_pauses_total", "Times reading from a publisher paused.", nil},
	{"gateway_addresses", "Addresses noted for limits.per_address.", nil},
	{"gateway_addresses_uncounted_total", "Connections from addresses that there was no room to note.", nil},
	{"gateway_bans", "Client ids, users, and addresses or networks that may not connect.", []string{"kind"}},
	{"gateway_bans_unheeded_total", "Bans that there was no room for, or that could not be read.", nil},
	{"gateway_flapping_bans_total", "Client ids banned for a while, as they connected too often.", nil},
	{"gateway_duplicate_ids_total", "Takeovers of client ids that two devices seem to have.", nil},
	{"gateway_rate_pauses_total", "Times a device was not read for a while, as it was faster than packet_rate or byte_rate.", nil},
	{"gateway_turns_ended_total", "Times a connection's messages visited so many subscriptions that it went on in the next tick.", nil},
	{"gateway_paused_publishers", "Publishers not read at the moment.", nil},
	{"gateway_uplink_held_batches", "Batches that NATS or another loop could not take yet.", nil},
	{"gateway_homed_total", "Connections moved to the loop that owns their client id.", nil},
	{"gateway_panics_total", "Panics while serving one connection, which was closed.", nil},
	{"gateway_goroutines", "Goroutines of the process; devices need none.", nil},
	{"gateway_heap_bytes", "Bytes of the process' heap in use, with what is not yet collected.", nil},
	{"gateway_loop_ticks_total", "Ticks.", []string{"loop"}},
	{"gateway_loop_busy_seconds_total", "Time not spent waiting for events.", []string{"loop"}},
	{"gateway_loop_longest_tick_seconds", "Longest tick since the start.", []string{"loop"}},
	{"gateway_loop_lag_seconds", "How long the loop took to answer this scrape.", []string{"loop"}},
	{"gateway_loop_late_total", "Ticks that came seconds late.", []string{"loop"}},
	{"gateway_presence_active", "1 while this gateway has a lease, and who is connected is recorded.", nil},
	{"gateway_presence_changes_total", "Connects and disconnects recorded (stored), left out because there was a later one (superseded) or many of one client waited (coalesced), tried again (conflict, failed), of ids too long for a key (unnamable), and put right for gateways that died (lost).", []string{"what"}},
	{"gateway_presence_waiting", "Clients whose newest state is not yet recorded.", nil},
	{"gateway_presence_leases_total", "Leases taken; beyond the first each means that the one before ended.", nil},
	{"gateway_presence_overflows_total", "Times that more changes waited than there is room for, and the lease was given up.", nil},
	{"gateway_hub_linked", "1 while the link to the hub stands (with nats.leaf).", nil},
	{"gateway_hub_links_total", "Times the link to the hub came up.", nil},
	{"gateway_hub_copies_log", "1 while the hub has a copy of the log that can be brought up to date.", nil},
	{"gateway_hub_copy_lag_messages", "Messages of the log that the hub's copy did not have when both were last asked.", nil},
	{"gateway_data_free_bytes", "Free space where the embedded NATS keeps its streams.", nil},
	{"gateway_store_ready", "1 while the log and the buckets are there.", nil},
	{"gateway_store_answers_total", "Messages of devices that were to be stored, by what became of them.", []string{"result"}},
	{"gateway_store_pending_batches", "Batches of messages that are not stored yet.", nil},
	{"gateway_session_records_total", "Records of persistent sessions written, writes that another gateway had forestalled (fenced), sessions taken up whose gateway died (adopted), and sessions taken back by a gateway that had not (regained).", []string{"what"}},
	{"gateway_store_groups_total", "Groups of messages handed to JetStream.", nil},
	{"gateway_store_retries_total", "Messages handed to JetStream again, as no answer came.", nil},
	{"gateway_store_duplicates_total", "Messages that were stored already when they were handed again.", nil},
	{"gateway_log_received_total", "Messages that the tails of streams brought.", nil},
	{"gateway_log_skipped_total", "Messages that a stream no longer had when its tail came to them.", nil},
	{"gateway_log_restarts_total", "Times that a tail began anew behind what it had brought.", nil},
	{"gateway_session_drops_forgotten_total", "Clean connects whose older record was not looked for, as too many waited.", nil},
	{"gateway_session_records_pending", "Records on their way to NATS.", nil},
	{"gateway_loop_doubts_total", "Times a loop that came seconds late waited to hear the other gateways before it read devices with kept sessions.", nil},
	{"gateway_connects_waiting", "CONNECTs that wait for the record of their session.", nil},
	{"gateway_connects_forgone_total", "CONNECTs whose connection ended before it was their turn to ask NATS for it.", nil},
	{"gateway_sessions_behind_total", "Times a live session could not take what came and went on reading from the log.", nil},
	{"gateway_catch_up_reads_total", "Reads of what sessions had missed.", nil},
	{"gateway_messages_replayed_total", "Messages that sessions had missed and got from the log.", nil},
	{"gateway_tls_handshakes_total", "TLS handshakes by how they ended.", []string{"result"}},
	{"gateway_tls_resumed_total", "TLS handshakes that resumed a session.", nil},
	{"gateway_tls_handshakes", "TLS handshakes under way, and connections that wait for theirs.", []string{"state"}},
	{"gateway_tls_bad_records_total", "Connections ended for a TLS record that was none.", nil},
	{"gateway_tls_reloads_total", "Times the TLS files of a listener were read anew after a change, or could not be used.", []string{"result"}},
	{"gateway_tls_tickets_shared", "1 while the keys of session tickets are those of all gateways on this NATS.", nil},
	{"gateway_tls_certificate_expiry_timestamp_seconds", "When a certificate of the gateway expires.", []string{"listener", "name"}},
	{"gateway_tls_client_certificate_expiry_timestamp_seconds", "When the first of the certificates expires that devices have shown in the last week or two.", nil},
	{"gateway_tls_client_certificates_expiring", "Certificates that devices have shown in the last week or two and that expire within 30 days.", nil},
	{"gateway_deliver_pauses_total", "Times a device was sent nothing more for a while, because of limits.deliver_rate.", nil},
	{"gateway_overload_stage", "What is done about too much memory in use, or loops that are late: 0 nothing, 1 nobody new is let in, 2 devices are sent away.", []string{"of"}},
	{"gateway_overload_memory_bytes", "Memory in use, as overload.memory_bytes_max counts it.", nil},
	{"gateway_overload_memory_max_bytes", "From how much of it on nobody new is let in; 0 without a bound.", nil},
	{"gateway_overload_lag_seconds", "How late the latest of the loops is.", nil},
	{"gateway_nats_connected", "1 while NATS is connected.", nil},
	{"gateway_nats_reconnects_total", "Times the connection to NATS came back.", nil},
	{"gateway_nats_published_total", "Messages handed to NATS.", nil},
	{"gateway_nats_unheard_total", "Messages of devices not handed to the embedded NATS, because nobody was there to hear them.", nil},
	{"gateway_nats_repeated_total", "Messages published again after a lost connection.", nil},
	{"gateway_nats_dropped_total", "Messages for or from NATS that were lost.", []string{"reason"}},
	{"gateway_nats_refused_total", "What NATS or its permissions refused.", []string{"what"}},
	{"gateway_nats_received_total", "Messages from NATS.", nil},
	{"gateway_nats_subscriptions", "Filters and shapes of filters that NATS is asked for.", []string{"form"}},
}

func newCollector(g *Gateway) *collector {
	k := &collector{g: g, desc: map[string]*prometheus.Desc{}}
	for _, m := range metricTable {
		k.desc[m.name] = prometheus.NewDesc(m.name, m.help, m.labels, nil)
	}
	return k
}

// Describe is part of prometheus.Collector.
func (k *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range metricTable {
		ch <- k.desc[m.name]
	}
}

// emitter sends metrics of one scrape.
type emitter struct {
	k  *collector
	ch chan<- prometheus.Metric
}

func (e emitter) counter(name string, v float64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(e.k.desc[name], prometheus.CounterValue, v, labels...)
}

func (e emitter) gauge(name string, v float64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(e.k.desc[name], prometheus.GaugeValue, v, labels...)
}

// Collect is part of prometheus.Collector.
func (k *collector) Collect(ch chan<- prometheus.Metric) {
	e := emitter{k, ch}
	all, _ := k.g.snapshots()
	var sum snapshot
	for i := range all {
		e.loop(i, &all[i])
		sum.add(&all[i])
	}
	sum.retainedFull += k.g.retained.unkept()
	e.devices(&sum)
	e.messages(&sum)
	e.nats(k.g)
	e.durable(&sum, k.g)
	e.limits(&sum, k.g)
	e.overload(k.g.guard)
	e.process()
	e.tls(&sum, k.g.tls)
	e.permissions(&sum, k.g)
	e.tenants(k.g.tenants)
	topics, bytes := k.g.retained.size()
	e.gauge("gateway_connections_max", float64(k.g.room.max))
	e.gauge("gateway_retained_messages", float64(topics))
	e.gauge("gateway_retained_bytes", float64(bytes))
	e.mirror(k.g)
}

// typeLabels are the packet types in lower case.
var typeLabels = [16]string{"reserved", "connect", "connack", "publish", "puback", "pubrec", "pubrel", "pubcomp",
	"subscribe", "suback", "unsubscribe", "unsuback", "pingreq", "pingresp", "disconnect", "auth"}

func (e emitter) devices(s *snapshot) {
	for i, n := range s.live {
		e.gauge("gateway_connections", float64(n), liveLabels[i][0], liveLabels[i][1])
	}
	for i, n := range s.closed {
		e.counter("gateway_disconnects_total", float64(n), reason(i).String())
	}
	e.counter("gateway_accepted_total", float64(s.opened))
	e.counter("gateway_accept_errors_total", float64(s.loop.AcceptErrors))
	e.counter("gateway_accept_pauses_total", float64(s.loop.AcceptPauses))
	for v := welcome + 1; v < verdictCount; v++ {
		e.counter("gateway_accept_refused_total", float64(s.turnedAway[v]), verdicts[v].label)
	}
	e.counter("gateway_accept_refused_total", float64(s.loop.Refused-s.bannedUnheard), "reset")
	e.counter("gateway_accept_refused_total", float64(s.loop.Starved), "descriptors")
	e.counter("gateway_connects_total", float64(s.connects), "accepted")
	e.counter("gateway_connects_total", float64(s.refusedConnects), "refused")
	e.authentications(s)
	e.chains(s, e.k.g)
	e.counter("gateway_websocket_upgrades_total", float64(s.upgrades))
	e.counter("gateway_takeovers_total", float64(s.takeovers-s.takenElsewhere), "here")
	e.counter("gateway_takeovers_total", float64(s.takenElsewhere), "elsewhere")
	e.gauge("gateway_sessions", float64(s.sessionsLive), "live")
	e.gauge("gateway_sessions", float64(s.sessions-s.sessionsLive), "away")
	e.gauge("gateway_subscriptions", float64(s.filters))
	e.counter("gateway_homed_total", float64(s.movedOut))
	e.counter("gateway_panics_total", float64(s.panics))
}

func (e emitter) messages(s *snapshot) {
	for t := mqtt.TypeConnect; t <= mqtt.TypeAuth; t++ {
		if mqtt.FromClient(t, mqtt.V5) {
			e.counter("gateway_packets_received_total", float64(s.packetsIn[t]), typeLabels[t])
		}
		if s.packetsOut[t] > 0 || t == mqtt.TypePublish {
			e.counter("gateway_packets_sent_total", float64(s.packetsOut[t]), typeLabels[t])
		}
	}
	for qos, label := range []string{"0", "1", "2"} {
		e.counter("gateway_messages_received_total", float64(s.messagesIn[qos]), label)
		e.counter("gateway_messages_sent_total", float64(s.messagesOut[qos]), label)
	}
	for i, n := range s.drops {
		e.counter("gateway_messages_dropped_total", float64(n), session.DropReason(i).String())
	}
	e.counter("gateway_messages_dropped_total", float64(s.willsLost), "will_uplink_full")
	e.counter("gateway_received_bytes_total", float64(s.loop.ReadBytes))
	e.counter("gateway_sent_bytes_total", float64(s.loop.WriteBytes))
	e.gauge("gateway_topic_alias_bytes", float64(s.aliasBytesIn), "in")
	e.gauge("gateway_topic_alias_bytes", float64(s.aliasBytesOut), "out")
	e.counter("gateway_topic_alias_saved_bytes_total", float64(s.aliasBytesSaved))
	e.counter("gateway_messages_refused_total", float64(s.refused))
	e.counter("gateway_retained_refused_total", float64(s.retainedFull))
	e.counter("gateway_commands_bad_total", float64(s.badCommands))
	e.counter("gateway_topics_rewritten_total", float64(s.rewrites))
	e.counter("gateway_auto_subscriptions_total", float64(s.autoSubscribed), "made")
	e.counter("gateway_auto_subscriptions_total", float64(s.autoRefused), "refused")
	e.counter("gateway_calls_refused_total", float64(s.callsRefused))
	e.gauge("gateway_queued_messages", float64(s.queued))
	e.gauge("gateway_queued_bytes", float64(s.queuedBytes))
	e.gauge("gateway_kept_bytes", float64(s.keptBytes))
	e.gauge("gateway_connection_buffer_bytes", float64(s.loop.TailBytes), "in")
	e.gauge("gateway_connection_buffer_bytes", float64(s.loop.BatchBytes), "out")
	e.gauge("gateway_replays", float64(s.replays))
	e.counter("gateway_shared_redelivered_total", float64(s.redelivered))
	e.gauge("gateway_shared_orphans", float64(s.orphans))
	e.counter("gateway_backpressure_pauses_total", float64(s.pauses))
	e.counter("gateway_turns_ended_total", float64(s.turnsEnded))
	e.gauge("gateway_paused_publishers", float64(s.pausedPublishers))
	e.gauge("gateway_uplink_held_batches", float64(s.heldBatches))
}
