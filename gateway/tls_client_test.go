package gateway

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// TestTLSClientCertificates: who is let in with which certificate, by the mode of the listener, and what is known of it then.
func TestTLSClientCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := newAuthority(t, dir, "ca")
	foreign := newAuthority(t, t.TempDir(), "ca") // the same name, another key
	good := a.issue("pump-7", func(c *x509.Certificate) {
		c.URIs, c.DNSNames, c.IPAddresses = []*url.URL{uri(t, "urn:pump:7")}, []string{"pump-7.example"}, []net.IP{net.IPv4(127, 0, 0, 9)}
	})
	expired := a.issue("old", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early := a.issue("early", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })
	onlyServer := a.issue("server-only", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	r := start(t, a.secured(a.wants("required")), func(c *Config) {
		c.Listeners[1] = "mqtts://127.0.0.1:0?client_certs=optional"
		c.Listeners[2] = "mqtts://127.0.0.1:0?client_certs=none"
	})
	for name, addr := range map[string]string{"required": r.mqtt, "optional": r.ws, "none": r.any} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			config := func(mods ...func(c *tls.Config)) *tls.Config {
				c := a.client(mods...)
				c.MinVersion, c.MaxVersion = version, version
				return c
			}
			if got := r.refusedTLS(addr, config()); got != (name == "required") {
				t.Errorf("%s, %x: without a certificate refused: %v", name, version, got)
			}
			for what, bad := range map[string]tls.Certificate{
				"foreign": foreign.issue("pump-7"), "expired": expired, "early": early, "for servers": onlyServer,
			} {
				// It is asked for nowhere else: a client shows it whatever names of authorities it was told.
				show := func(c *tls.Config) {
					c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &bad, nil }
				}
				if got := r.refusedTLS(addr, config(show)); got != (name != "none") {
					t.Errorf("%s, %x: a %s certificate refused: %v", name, version, what, got)
				}
			}
			c := r.mustTLS(addr, config(showing(good)))
			id := fmt.Sprintf("%s-%x", name, version)
			r.connectOn(c, id)
			p := r.whoIs(id).tls
			if name == "none" {
				if p.CN != "" || p.User != "" || p.Fingerprint != "" {
					t.Errorf("%+v of a certificate that nobody asked for", p)
				}
				continue
			}
			if p.CN != "pump-7" || p.User != "pump-7" || strings.Join(p.Names, " ") != "urn:pump:7 pump-7.example 127.0.0.9" || len(p.Fingerprint) != 64 ||
				p.ExpiresSec != good.Leaf.NotAfter.Unix() {
				t.Errorf("%+v", p)
			}
		}
	}
	r.eventually("each that failed is closed for it", func() bool {
		s := r.sum()
		n := sumOf(s.loop.HandshakeFails[:])
		return n == 2*(1+4+4) && s.closed[reasonTLSHandshake] == n
	})
}

func sumOf(all []uint64) (sum uint64) {
	for _, n := range all {
		sum += n
	}
	return sum
}

// TestTLSIdentity: which part of a certificate names a device, and that names which can be read in two ways are refused.
func TestTLSIdentity(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	extra := func(cns ...string) func(c *x509.Certificate) {
		return func(c *x509.Certificate) {
			c.Subject = pkix.Name{}
			for _, cn := range cns {
				c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: oidCommonName, Value: cn})
			}
		}
	}
	named := a.issue("anna", func(c *x509.Certificate) { c.DNSNames, c.EmailAddresses = []string{"a.example"}, []string{"a@example"} })
	mail := a.issue("mail", func(c *x509.Certificate) {
		c.EmailAddresses, c.IPAddresses = []string{"b@example"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	address := a.issue("ip", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
	for _, tc := range []struct {
		identity string
		cert     tls.Certificate
		want     string // empty: refused
	}{
		{"cn", named, "anna"}, {"san", named, "a.example"}, {"san", mail, "b@example"}, {"san", address, ""},
		{"cn", a.issue("none", extra()), ""}, {"cn", a.issue("two", extra("anna", "root")), ""}, {"cn", a.issue("line", extra("a\nb")), ""},
		{"cn", a.issue("nul", extra("a\x00b")), ""}, {"san", a.issue("none", extra()), ""},
	} {
		state := tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{tc.cert.Leaf, a.cert}}}
		d := &tlsDoor{identity: tc.identity, seen: &seenCerts{}}
		d.now.Store(&tlsState{creds: &credentials{trusted: map[[32]byte]bool{authorityKey(a.cert): true}}})
		who, err := d.verified(state)
		if (err != nil) != (tc.want == "") || err == nil && !strings.Contains(fmt.Sprintf("%+v", who), " User:"+tc.want+"}") {
			t.Errorf("%s of %v: %+v, %v; want %q", tc.identity, tc.cert.Leaf.Subject, who, err, tc.want)
		}
	}
}

// TestTLSRevoked: a revoked certificate is refused, also one that was revoked while the gateway ran, and a session that it had does not help it.
func TestTLSRevoked(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	bad, turned, fine := a.issue("bad"), a.issue("turned"), a.issue("fine")
	a.revoke("ca.crl", time.Now().Add(time.Hour), bad)
	r := start(t, a.secured(a.wants("required"), func(c *TLSCfg) { c.CRL = []string{a.file("ca.crl")} }))
	config := a.client(showing(turned), func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(1) })
	for range 2 {
		c := r.mustTLS(r.mqtt, config)
		r.connectOn(c, "turned") // CONNACK comes behind the ticket
		if c.tlsState().DidResume {
			break
		}
		c.disconnect()
	}
	if n := r.gw.tls.handshaker.Stats().Resumed; n != 1 {
		t.Errorf("%d resumed", n)
	}
	if !r.refusedTLS(r.mqtt, a.client(showing(bad))) || r.refusedTLS(r.mqtt, a.client(showing(fine))) {
		t.Error("who is revoked is let in, or others are not")
	}
	a.revoke("ca.crl", time.Now().Add(time.Hour), bad, turned)
	r.gw.Reload()
	if !r.refusedTLS(r.mqtt, config) || !r.refusedTLS(r.mqtt, a.client(showing(turned))) || r.refusedTLS(r.mqtt, a.client(showing(fine))) {
		t.Error("after the reload: who is revoked is let in, or others are not")
	}
	if n := r.sum().loop.HandshakeFails; sumOf(n[:]) != 3 {
		t.Errorf("%v", n)
	}
}

// TestTLSRevocationLists: what is read of lists, and what is wrong with them.
func TestTLSRevocationLists(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	cert, later := a.issue("one"), a.issue("two")
	chain := func(c tls.Certificate) issued { return proofOf([]*x509.Certificate{c.Leaf, a.cert}).links[0] }
	load := func(name string, ofOthers bool) (r revoked, v, warn validator) {
		r.load(certFile{"tls.crl[0]", name}, []*x509.Certificate{a.cert}, ofOthers, &v, &warn)
		return r, v, warn
	}
	a.revoke("old.crl", time.Now().Add(-time.Minute), cert)
	if r, v, warn := load(a.file("old.crl"), false); !r.has(chain(cert)) || r.has(chain(later)) || len(v.errs) != 0 ||
		len(warn.errs) != 1 || !strings.Contains(warn.errs[0].Error(), "should have been replaced") {
		t.Errorf("a list that is over: %v %v %v", r, v.errs, warn.errs)
	}
	// Of two lists of one authority the newer counts, in any order; a file may hold several.
	a.revoke("new.crl", time.Now().Add(time.Hour), later)
	older, newer := readFile(t, a.file("old.crl")), readFile(t, a.file("new.crl"))
	for _, both := range [][]byte{append(bytes.Clone(older), newer...), append(bytes.Clone(newer), older...)} {
		if err := os.WriteFile(a.file("both.crl"), both, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, v, _ := load(a.file("both.crl"), false); r.has(chain(cert)) || !r.has(chain(later)) || len(v.errs) != 0 {
			t.Errorf("two lists: %v", v.errs)
		}
	}
	other := newAuthority(t, t.TempDir(), "other")
	other.revoke("crl", time.Now().Add(time.Hour), cert)
	if r, v, _ := load(other.file("crl"), false); r.has(chain(cert)) || len(v.errs) != 1 || !strings.Contains(v.errs[0].Error(), "none of the authorities") {
		t.Errorf("a list of another authority: %v", v.errs)
	}
	if r, v, warn := load(other.file("crl"), true); r.has(chain(cert)) || len(v.errs) != 0 || len(warn.errs) != 1 {
		t.Errorf("a list of another listener's authority: %v %v", v.errs, warn.errs)
	}
	forged := newAuthority(t, t.TempDir(), "ca")
	forged.revoke("crl", time.Now().Add(time.Hour), cert)
	if r, v, _ := load(forged.file("crl"), false); r.has(chain(cert)) || len(v.errs) != 1 || !strings.Contains(v.errs[0].Error(), "not signed by it") {
		t.Errorf("a list in its name: %v", v.errs)
	}
	for _, name := range []string{"ca.pem", "one.key"} {
		if _, v, _ := load(a.file(name), false); len(v.errs) != 1 || !strings.Contains(v.errs[0].Error(), "revocation list") {
			t.Errorf("%s as a list: %v", name, v.errs)
		}
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestTLSSeenCertificates: those that expire soon are counted once, for a week or two after they were shown.
func TestTLSSeenCertificates(t *testing.T) {
	t.Parallel()
	x, now := seenCerts{}, time.Now()
	in := func(days int) int64 { return now.Add(time.Duration(days) * 24 * time.Hour).Unix() }
	is := func(what string, soonest int64, soon int) {
		t.Helper()
		if gotSoonest, gotSoon := x.sum(now); gotSoonest != soonest || gotSoon != soon {
			t.Errorf("%s: %d, %d; want %d, %d", what, gotSoonest, gotSoon, soonest, soon)
		}
	}
	is("nothing", 0, 0)
	far, near := in(400), in(20)
	x.add([32]byte{1}, far, now)
	is("one far", far, 0)
	x.add([32]byte{2}, near, now)
	x.add([32]byte{2}, near, now)
	is("one near, twice", near, 1)
	now = now.Add(seenTime + time.Hour)
	x.add([32]byte{2}, near, now)
	is("again in the next week", near, 1)
	now = now.Add(15 * 24 * time.Hour)
	x.add([32]byte{1}, far, now)
	is("not seen for two weeks", far, 0)
	for i := range seenSoonMax + 10 {
		x.add([32]byte{3, byte(i), byte(i >> 8), byte(i >> 16)}, now.Unix()+1000, now)
	}
	is("more than are remembered", now.Unix()+1000, seenSoonMax)
}
