package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestTLSReload: changed files are found, and used for who comes then; who is connected stays; files that cannot be used leave all as it is.
func TestTLSReload(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured(a.wants("optional")))
	config := a.client()
	serial := func() int64 {
		c := r.mustTLS(r.mqtt, config)
		defer c.cut()
		return c.tlsState().PeerCertificates[0].SerialNumber.Int64()
	}
	stays := r.mustTLS(r.mqtt, config)
	r.connectOn(stays, "stays")
	first := serial()

	before := r.gw.tls.reloads[1].Load()
	a.server("server")
	r.eventually("the new certificate is used", func() bool { return serial() != first })
	if n := r.gw.tls.reloads[1].Load() - before; n != 3 { // of three listeners
		t.Errorf("%d listeners were loaded", n)
	}
	second := serial()

	a.issue("other")
	if err := os.Rename(a.file("other.key"), a.file("server.key")); err != nil {
		t.Fatal(err)
	}
	r.eventually("the wrong key is found", func() bool { r.gw.tls.look(); return r.gw.tls.reloads[0].Load() == 3 })
	if serial() != second {
		t.Error("a wrong key changed the certificate")
	}
	if _, page := r.page("/readyz?verbose"); !strings.Contains(page, "[+]tls the first certificate expires on 2") || !strings.Contains(page, "not the key") {
		t.Errorf("%s", page)
	}
	r.gw.Reload()
	if n := r.gw.tls.reloads[0].Load(); n != 6 {
		t.Errorf("%d failures after a SIGHUP", n)
	}
	a.server("server")
	r.eventually("it is mended", func() bool { r.gw.tls.look(); return serial() != second })
	_, page := r.page("/metrics")
	for _, want := range []string{
		"gateway_tls_reloads_total{result=\"failed\"} 6\n", "gateway_tls_reloads_total{result=\"loaded\"} 6\n",
		"gateway_tls_certificate_expiry_timestamp_seconds{listener=\"mqtts://" + r.mqtt + "\",name=\"server\"} ",
		"gateway_tls_handshakes_total{result=\"done\"} ", "gateway_tls_tickets_shared 1\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(page, "gateway_tls_client_certificate_expiry") {
		t.Error("a certificate of a device that nobody showed")
	}
	stays.ping()
}

// TestTLSAuthorityChanges: certificates of an authority that is no longer trusted are refused, also those of sessions that are resumed
// (CVE-2025-68121), and those of the new one are let in.
func TestTLSAuthorityChanges(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured(a.wants("optional")))
	resuming := func(mods ...func(c *tls.Config)) *tls.Config {
		return a.client(append(mods, func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(1) })...)
	}
	known := resuming(showing(a.issue("known")))
	for range 2 {
		r.connectOn(r.mustTLS(r.mqtt, known), "known")
	}
	if n := r.gw.tls.handshaker.Stats().Resumed; n != 1 {
		t.Fatalf("%d resumed", n)
	}
	leaves, stays := r.mustTLS(r.mqtt, known), r.mustTLS(r.mqtt, a.client())
	r.connectOn(leaves, "leaves")
	r.connectOn(stays, "stays")

	next := newAuthority(t, t.TempDir(), "next")
	a.write("ca.pem", "CERTIFICATE", next.cert.Raw)
	r.gw.Reload()
	leaves.endsWith(mqtt.AdministrativeAction, 0)
	known.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &known.Certificates[0], nil }
	if !r.refusedTLS(r.mqtt, known) {
		t.Error("a ticket stands for a certificate of an authority that is trusted no longer")
	}
	c := r.mustTLS(r.mqtt, resuming(showing(next.issue("pump"))))
	r.connectOn(c, "pump")
	if w := r.whoIs("pump"); w.tls.User != "pump" {
		t.Errorf("%+v", w.tls)
	}
	stays.ping()
}

// TestTLSTicketsShared: a session of one gateway is resumed at another on the same NATS, in both versions, with what its certificate said; by
// new keys, too, and not where others are trusted.
func TestTLSTicketsShared(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	other := newAuthority(t, t.TempDir(), "ca")
	s := bustest.Start(t)
	inside := func(c *Config) { c.NATS.URL = s.Conn(t).ConnectedUrl() }
	one := start(t, a.secured(a.wants("required")), inside, func(c *Config) { c.Node = "one" })
	two := start(t, a.secured(a.wants("required")), inside, func(c *Config) {
		c.Node = "two"
		c.Listeners[1] = "mqtts://127.0.0.1:0?client_ca=" + other.file("ca.pem")
		c.Listeners[2] = "mqtts://127.0.0.1:0?client_certs=optional"
	})
	for _, r := range []*rig{one, two} {
		if !r.gw.tls.tickets.shared {
			t.Fatal("NATS was there, and the keys are not shared")
		}
	}
	pump := a.issue("pump")
	cache := func(version uint16) *tls.Config {
		return a.client(showing(pump), func(c *tls.Config) {
			c.ClientSessionCache, c.MinVersion, c.MaxVersion = tls.NewLRUClientSessionCache(1), version, version
		})
	}
	resumes := func(r *rig, addr string, config *tls.Config) bool {
		t.Helper()
		c := r.mustTLS(addr, config)
		r.connectOn(c, "pump")
		if w := r.whoIs("pump"); w.tls.User != "pump" || w.tls.Fingerprint == "" {
			t.Errorf("%+v", w.tls)
		}
		return c.tlsState().DidResume
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := cache(version)
		if resumes(one, one.mqtt, config) || !resumes(two, two.mqtt, config) || !resumes(one, one.mqtt, config) {
			t.Errorf("%x: not resumed at the other gateway", version)
		}
		if resumes(two, two.any, config) {
			t.Errorf("%x: resumed at a listener with another mode", version)
		}
		config = cache(version)
		resumes(one, one.mqtt, config)
		config.Certificates = []tls.Certificate{other.issue("pump")}
		if resumes(two, two.ws, config) {
			t.Errorf("%x: resumed at a listener with other authorities", version)
		}
	}
	// One makes a new key; the other reads its tickets before it writes such.
	config := cache(tls.VersionTLS13)
	resumes(one, one.mqtt, config)
	x := one.gw.tls
	x.mu.Lock()
	now := time.Now()
	there, err := x.replaceTickets(t.Context(), x.tickets.known, x.tickets.next(now, time.Hour))
	if err == nil {
		x.tickets.take(there, now.Add(-ticketsRipeTime)) // so it writes them
		x.useTickets(now)
	}
	x.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if !resumes(one, one.mqtt, config) {
		t.Error("a ticket by the key before is read no longer")
	}
	two.gw.tls.refreshTickets(t.Context())
	if !resumes(two, two.mqtt, config) {
		t.Error("a ticket by the new key is not read at the other gateway")
	}
}

// TestTLSTicketKeys: when keys are made, used and left out; a year in a moment.
func TestTLSTicketKeys(t *testing.T) {
	t.Parallel()
	const rotation = 8 * time.Hour
	now := time.Now()
	x := tickets{}
	x.begin(now)
	if x.due(now, rotation) || len(x.inUse(now)) != 1 {
		t.Fatal("the first key")
	}
	x.shared = true
	for step := range 100 {
		now = now.Add(rotation)
		if !x.due(now, rotation) {
			t.Fatalf("step %d: none is due", step)
		}
		before := x.inUse(now)[0]
		x.rotatedAt = now
		x.take(bus.Tickets{Keys: x.next(now, rotation)}, now)
		if got := x.inUse(now); len(got) != min(step+2, ticketsKept) || got[0] != before || got[1] == before {
			t.Fatalf("step %d: a new key writes tickets that others cannot read yet", step)
		}
		if got := x.inUse(now.Add(ticketsRipeTime)); got[0] == before || got[1] != before {
			t.Fatalf("step %d: the new key is not used", step)
		}
		if x.due(now, rotation) || x.due(now.Add(rotation-time.Second), rotation) {
			t.Fatalf("step %d: a key too soon", step)
		}
	}
	if keys := x.next(now.Add(1000*rotation), rotation); len(keys) != 1 {
		t.Errorf("%d keys after a long sleep", len(keys))
	}
	ahead := tickets{}
	ahead.begin(now.Add(1000 * rotation)) // by who has a wrong clock
	ahead.rotatedAt = time.Time{}
	if !ahead.due(now, rotation) {
		t.Error("a key of the future is used for ever")
	}
}

// TestTLSTicketsOff: with no rotation there are no tickets, and nothing about them in NATS.
func TestTLSTicketsOff(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured(func(c *TLSCfg) { c.TicketRotation = 0 }))
	config := a.client(func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(1) })
	for range 2 {
		c := r.mustTLS(r.mqtt, config)
		r.connectOn(c, "one")
		if c.tlsState().DidResume {
			t.Error("resumed")
		}
	}
	if keys, err := r.gw.bus.Tickets(t.Context()); err != nil || len(keys.Keys) != 0 {
		t.Errorf("%d keys in NATS, %v", len(keys.Keys), err)
	}
}

// TestTLSAnchors: what tickets are bound to depends on the authorities and the mode, and not on the order of a file.
func TestTLSAnchors(t *testing.T) {
	t.Parallel()
	a, b := newAuthority(t, t.TempDir(), "ca"), newAuthority(t, t.TempDir(), "ca")
	a.server("server")
	anchors := func(clients string, cas ...*x509.Certificate) [32]byte {
		var text []byte
		for _, c := range cas {
			a.write("one.pem", "CERTIFICATE", c.Raw)
			text = append(text, readFile(t, a.file("one.pem"))...)
		}
		if err := os.WriteFile(a.file("all.pem"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		v := validator{}
		f := tlsFiles{pairs: []certPair{{certFile{"c", a.file("server.pem")}, certFile{"k", a.file("server.key")}}}, clients: clients, ca: certFile{"ca", a.file("all.pem")}}
		creds := f.load(&v, &validator{})
		if creds == nil {
			t.Fatal(v.errs)
		}
		return creds.anchors
	}
	both := anchors("required", a.cert, b.cert)
	if both != anchors("required", b.cert, a.cert) {
		t.Error("the order of authorities matters")
	}
	for name, other := range map[string][32]byte{
		"one less": anchors("required", a.cert), "optional": anchors("optional", a.cert, b.cert), "none": anchors("none", a.cert, b.cert),
	} {
		if other == both {
			t.Errorf("%s is the same", name)
		}
	}
}
