package gateway

import (
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"
)

// TestTLSValidate: what is wrong with the TLS of a configuration is said once, with how to mend it.
func TestTLSValidate(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	a.server("server")
	a.server("other")
	write := func(name, text string) string {
		if err := os.WriteFile(a.file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return a.file(name)
	}
	locked := write("locked.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
	empty := write("empty.pem", "")
	pair := func(cert, key string) func(c *TLSCfg) {
		return func(c *TLSCfg) { c.Certificates = []TLSCertificate{{cert, key}} }
	}
	listeners := func(all ...string) func(c *Config) { return func(c *Config) { c.Listeners = all } }
	for name, tc := range map[string]struct {
		tls       func(c *TLSCfg)
		mod       func(c *Config)
		path, say string
	}{
		"all is well":         {nil, nil, "", ""},
		"no certificate":      {func(c *TLSCfg) { c.Certificates = nil }, nil, "tls.certificates", "{cert: server.pem, key: server.key}"},
		"no such file":        {pair(a.file("no.pem"), a.file("server.key")), nil, "tls.certificates[0].cert", "does not exist"},
		"a directory":         {pair(a.file("server.pem"), a.dir), nil, "tls.certificates[0].key", "may read"},
		"another's key":       {pair(a.file("server.pem"), a.file("other.key")), nil, "tls.certificates[0].key", "openssl x509 -in"},
		"a locked key":        {pair(a.file("server.pem"), locked), nil, "tls.certificates[0].key", "openssl pkey -in"},
		"no key in the key":   {pair(a.file("server.pem"), empty), nil, "tls.certificates[0].key", "private key of"},
		"no certificate in":   {pair(empty, a.file("server.key")), nil, "tls.certificates[0].cert", "PEM file with the certificate"},
		"an unknown version":  {func(c *TLSCfg) { c.MinVersion = "1.1" }, nil, "tls.min_version", "1.2, 1.3"},
		"an unknown mode":     {func(c *TLSCfg) { c.ClientCerts = "maybe" }, nil, "tls.client_certs", "none, optional, required"},
		"an unknown identity": {func(c *TLSCfg) { c.Identity = "dn" }, nil, "tls.identity", "cn, san, fingerprint"},
		"a rotation too fast": {func(c *TLSCfg) { c.TicketRotation = time.Second }, nil, "tls.ticket_rotation", "1m0s"},
		"no seats":            {func(c *TLSCfg) { c.HandshakesMax = 0 }, nil, "tls.handshakes_max", "between 1"},
		"no authority":        {func(c *TLSCfg) { c.ClientCerts = "required" }, nil, "tls.client_ca", "issue those of your devices"},
		"an empty authority":  {func(c *TLSCfg) { c.ClientCerts, c.ClientCA = "optional", empty }, nil, "tls.client_ca", "no certificate in it"},
		"no such list":        {func(c *TLSCfg) { a.wants("required")(c); c.CRL = []string{"/no/such"} }, nil, "tls.crl[0]", "does not exist"},
		"bounds of no TLS":    {nil, listeners("mqtt://127.0.0.1:1?client_certs=required"), "listeners[0]", "mqtts://"},
		"half a certificate":  {nil, listeners("mqtts://127.0.0.1:1?tls_cert=" + a.file("server.pem")), "listeners[0]", "both tls_cert and tls_key"},
		"its own, wrong": {nil, listeners("mqtts://127.0.0.1:1?tls_cert=" + a.file("server.pem") + "&tls_key=" + a.file("other.key")),
			"listeners[0].tls_key", "not the key"},
		"its own mode, wrong":     {nil, listeners("mqtts://127.0.0.1:1?client_certs=yes"), "listeners[0].client_certs", "none, optional, required"},
		"its own, no authority":   {nil, listeners("mqtts://127.0.0.1:1?client_certs=required&client_ca=/no/such"), "listeners[0].client_ca", "does not exist"},
		"open to all":             {nil, listeners("mqtts://0.0.0.0:1"), "listeners[0]", "anybody on the network"},
		"open to those it knows":  {a.wants("required"), listeners("mqtts://0.0.0.0:1"), "", ""},
		"open to all beside them": {a.wants("optional"), listeners("mqtts://0.0.0.0:1"), "listeners[0]", "anybody on the network"},
		"plain, open":             {a.wants("required"), listeners("mqtt://0.0.0.0:1"), "listeners[0]", "anybody on the network"},
	} {
		c := Default()
		a.secured()(&c)
		if tc.tls != nil {
			tc.tls(&c.TLS)
		}
		if tc.mod != nil {
			tc.mod(&c)
		}
		errs := c.Validate()
		if tc.path == "" {
			if len(errs) != 0 {
				t.Errorf("%s: %v", name, errs)
			}
			continue
		}
		if len(errs) != 1 || errs[0].Path != tc.path || !strings.Contains(errs[0].Error(), tc.say) {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

// TestTLSWarnings: what has expired, or is open to everybody, is told, and no error.
func TestTLSWarnings(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	a.issue("server", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
	a.revoke("crl", time.Now().Add(-time.Minute))
	if err := os.Chmod(a.file("server.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := Default()
	a.secured(a.wants("required"), func(c *TLSCfg) { c.CRL = []string{a.file("crl")} })(&c)
	if errs := c.Validate(); len(errs) != 0 {
		t.Fatal(errs)
	}
	got := c.Warnings()
	if len(got) != 3 || got[1].Path != "tls.certificates[0].cert" || !strings.Contains(got[1].What, "has expired on") || got[2].Path != "tls.crl[0]" ||
		got[0].Path != "tls.certificates[0].key" || !strings.Contains(got[0].Error(), "chmod 0600") {
		t.Errorf("%v", got)
	}
	if plain := Default(); len(plain.Warnings()) != 0 {
		t.Error("the default has warnings")
	}
}
