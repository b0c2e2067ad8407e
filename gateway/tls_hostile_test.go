package gateway

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestTLSServerName: a name that no host can have is refused before anything is kept of it.
func TestTLSServerName(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured())
	asking := func(name string) *tls.Config {
		return a.client(func(c *tls.Config) { c.ServerName, c.InsecureSkipVerify = name, true })
	}
	for _, name := range []string{strings.Repeat("a", 256), strings.Repeat("b.", 5000) + "c", "a\x00b", "a\nb", "a b", "h\xffst", "ümlaut"} {
		if !r.refusedTLS(r.mqtt, asking(name)) {
			t.Errorf("%.20q is let in", name)
		}
	}
	for _, name := range []string{strings.Repeat("a", 255), "Host_1.Example"} {
		r.connectOn(r.mustTLS(r.mqtt, asking(name)), "device")
		if got := r.whoIs("device").tls.ServerName; got != name {
			t.Errorf("%.20q became %.20q", name, got)
		}
	}
}

// below has an authority issue another one.
func (a *authority) below(name string) *authority {
	pair := a.issue(name, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign })
	return &authority{t: a.t, dir: a.dir, cert: pair.Leaf, key: pair.PrivateKey.(crypto.Signer), pool: a.pool}
}

// trust has all the certificates in a file.
func (a *authority) trust(name string, all ...*x509.Certificate) {
	a.t.Helper()
	var text []byte
	for _, c := range all {
		a.write("one.pem", "CERTIFICATE", c.Raw)
		text = append(text, readFile(a.t, a.file("one.pem"))...)
	}
	if err := os.WriteFile(a.file(name), text, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// TestTLSAuthorityRevoked: an authority that another has revoked lets nobody in, although it is among the trusted so that its own list is heeded; and who came by it
// leaves.
func TestTLSAuthorityRevoked(t *testing.T) {
	t.Parallel()
	root := newAuthority(t, t.TempDir(), "ca")
	root.server("server")
	factory := root.below("factory")
	root.trust("both.pem", root.cert, factory.cert)
	root.revoke("ca.crl", time.Now().Add(time.Hour))
	factory.revoke("factory.crl", time.Now().Add(time.Hour))
	r := start(t, root.secured(root.wants("required"), func(c *TLSCfg) {
		c.ClientCA, c.CRL = root.file("both.pem"), []string{root.file("ca.crl"), root.file("factory.crl")}
	}))
	pump := factory.issue("pump")
	whole := tls.Certificate{Certificate: append(pump.Certificate, factory.cert.Raw), PrivateKey: pump.PrivateKey}
	one, other := r.mustTLS(r.mqtt, root.client(showing(pump))), r.mustTLS(r.mqtt, root.client(showing(whole)))
	own := r.mustTLS(r.mqtt, root.client(showing(root.issue("own"))))
	r.connectOn(one, "one")
	r.connectOn(other, "other")
	r.connectOn(own, "own")
	// The root has number 1, as the first certificate of a sloppy authority has.
	sloppy := tls.Certificate{Leaf: &x509.Certificate{SerialNumber: root.cert.SerialNumber}}
	root.revoke("ca.crl", time.Now().Add(time.Hour), tls.Certificate{Leaf: factory.cert}, sloppy)
	r.gw.Reload()
	one.endsWith(mqtt.AdministrativeAction, 0)
	other.endsWith(mqtt.AdministrativeAction, 0)
	if !r.refusedTLS(r.mqtt, root.client(showing(pump))) || !r.refusedTLS(r.mqtt, root.client(showing(whole))) {
		t.Error("who comes by an authority that is revoked is let in")
	}
	own.ping()
	r.connectOn(r.mustTLS(r.mqtt, root.client(showing(root.issue("new")))), "new")
}

// TestTLSAuthoritiesOverlap: while the old authority and the new one are both named nobody leaves, nor does anybody for a renewed certificate of one with the same
// key, or for one between a device and its root that becomes the root.
func TestTLSAuthoritiesOverlap(t *testing.T) {
	t.Parallel()
	old := newAuthority(t, t.TempDir(), "ca")
	next := newAuthority(t, old.dir, "next")
	factory := old.below("factory")
	r := start(t, old.secured(old.wants("optional")))
	pump := factory.issue("pump")
	pump.Certificate = append(pump.Certificate, factory.cert.Raw)
	direct, below := r.mustTLS(r.mqtt, old.client(showing(old.issue("direct")))), r.mustTLS(r.mqtt, old.client(showing(pump)))
	r.connectOn(direct, "direct")
	r.connectOn(below, "below")
	stay := func() {
		t.Helper()
		r.gw.Reload()
		for i := range r.gw.shards { // it is a function behind that of the recall
			done := make(chan struct{})
			r.gw.shards[i].doSoon(func(*shard) { close(done) })
			<-done
		}
		direct.ping()
		below.ping()
	}
	old.trust("ca.pem", old.cert, next.cert)
	stay()
	renewed := *old.cert
	renewed.SerialNumber, renewed.NotAfter = big.NewInt(77), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, &renewed, &renewed, old.key.Public(), old.key)
	if err != nil {
		t.Fatal(err)
	}
	old.write("ca.pem", "CERTIFICATE", der)
	stay()
	old.trust("ca.pem", next.cert, factory.cert)
	r.gw.Reload()
	direct.endsWith(mqtt.AdministrativeAction, 0)
	below.ping()
}

// TestTLSBadFilesStayNamed: what cannot be used of one listener is named until it is mended, whatever is read for others.
func TestTLSBadFilesStayNamed(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	a.server("own")
	r := start(t, a.secured(), func(c *Config) {
		c.Listeners[0] += "?tls_cert=" + a.file("own.pem") + "&tls_key=" + a.file("own.key")
	})
	bad := func() bool { return strings.Contains(r.gw.tls.check().text, "own.key") }
	a.write("own.key", "PRIVATE KEY", []byte("none"))
	r.gw.Reload()
	if !bad() {
		t.Fatal("a key that is none is not named")
	}
	a.server("server")
	r.eventually("the others are loaded", func() bool { r.gw.tls.look(); return r.gw.tls.reloads[1].Load() >= 4 })
	if !bad() {
		t.Error("the others made it forgotten")
	}
	a.server("own")
	r.gw.Reload()
	if bad() {
		t.Error("it is mended and still named")
	}
}

// TestTLSTicketsAlone: while NATS does not answer, the gateway says that its keys are not those of all.
func TestTLSTicketsAlone(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	s := bustest.Start(t)
	r := start(t, a.secured(), func(c *Config) { c.NATS.URL = s.URL() })
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	before := r.gw.tls.tickets.known.Keys[0]
	for _, step := range []struct {
		ctx  context.Context
		want string
	}{{t.Context(), "1"}, {gone, "0"}, {t.Context(), "1"}} {
		r.gw.tls.refreshTickets(step.ctx)
		if _, page := r.page("/metrics"); !strings.Contains(page, "gateway_tls_tickets_shared "+step.want+"\n") {
			t.Errorf("not %s", step.want)
		}
		if r.gw.tls.tickets.inUse(time.Now())[0] != before {
			t.Error("the keys changed")
		}
	}
}
