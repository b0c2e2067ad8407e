package gateway

import (
	"strings"
	"time"

	"github.com/tidegate/tidegate/epoll"
)

// handshakeLabels are why handshakes failed.
var handshakeLabels = map[epoll.HandshakeFail]string{
	epoll.FailNotTLS: "not_tls", epoll.FailBusy: "busy", epoll.FailEvicted: "evicted",
	epoll.FailPeerAlert: "peer_alert", epoll.FailCertificate: "certificate", epoll.FailProtocol: "protocol", epoll.FailPanic: "panic",
}

// tls emits what concerns TLS; nothing without a listener that has it.
func (e emitter) tls(s *snapshot, x *tlsGate) {
	if x == nil {
		return
	}
	e.counter("gateway_tls_handshakes_total", float64(s.loop.Handshakes), "done")
	for kind, label := range handshakeLabels {
		e.counter("gateway_tls_handshakes_total", float64(s.loop.HandshakeFails[kind]), label)
	}
	e.counter("gateway_tls_bad_records_total", float64(s.loop.BadRecords))
	h := x.handshaker.Stats()
	e.counter("gateway_tls_resumed_total", float64(h.Resumed))
	e.gauge("gateway_tls_handshakes", float64(h.Seats), "under_way")
	e.gauge("gateway_tls_handshakes", float64(h.Queued), "waiting")
	e.counter("gateway_tls_reloads_total", float64(x.reloads[0].Load()), "failed")
	e.counter("gateway_tls_reloads_total", float64(x.reloads[1].Load()), "loaded")
	for _, d := range x.doors {
		if d != nil {
			e.expiries(d)
		}
	}
	soonest, soon := x.seen.sum(time.Now())
	if soonest != 0 {
		e.gauge("gateway_tls_client_certificate_expiry_timestamp_seconds", float64(soonest))
	}
	e.gauge("gateway_tls_client_certificates_expiring", float64(soon))
	shared := 0.0
	x.mu.Lock()
	if x.tickets.shared {
		shared = 1
	}
	x.mu.Unlock()
	e.gauge("gateway_tls_tickets_shared", shared)
}

// expiries emits when the certificates of a listener expire; of those with one name, the first.
func (e emitter) expiries(d *tlsDoor) {
	first := map[string]int64{}
	for _, cert := range d.now.Load().creds.certs.list {
		name := cert.Leaf.Subject.String()
		if names := serverNames(cert.Leaf); len(names) > 0 {
			name = names[0]
		}
		name = strings.ToValidUTF8(name, "?")
		if at := cert.Leaf.NotAfter.Unix(); first[name] == 0 || at < first[name] {
			first[name] = at
		}
	}
	for name, at := range first {
		e.gauge("gateway_tls_certificate_expiry_timestamp_seconds", float64(at), d.listener, name)
	}
}

// addTLS is part of add.
func (s *snapshot) addTLS(o *snapshot) {
	s.loop.Handshakes += o.loop.Handshakes
	s.loop.BadRecords += o.loop.BadRecords
	for i := range s.loop.HandshakeFails {
		s.loop.HandshakeFails[i] += o.loop.HandshakeFails[i]
	}
}
