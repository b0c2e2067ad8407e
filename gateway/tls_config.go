package gateway

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"
)

// TLSCfg says how listeners with TLS (mqtts, wss, tls) prove who they are, and what they want to see of devices.
type TLSCfg struct {
	Certificates []TLSCertificate `yaml:"certificates" doc:"certificates with their keys: a device gets the first whose names fit the server name it asks for (SNI), else the first of all"`
	MinVersion   string           `yaml:"min_version" doc:"lowest version of TLS: 1.2 or 1.3"`
	ClientCerts  string           `yaml:"client_certs" doc:"certificates of devices: none, optional (one that is shown has to be good) or required"`
	ClientCA     string           `yaml:"client_ca" doc:"PEM file of the authorities that certificates of devices have to come from"`
	CRL          []string         `yaml:"crl" doc:"files with certificate revocation lists of these authorities, PEM or DER"`
	Identity     string           `yaml:"identity" doc:"what of its certificate names a device: cn, san (the first URI, DNS name or e-mail address) or fingerprint (SHA-256, hexadecimal)"`

	HandshakesMax  int           `yaml:"handshakes_max" doc:"handshakes in progress at a time; further ones wait"`
	HandshakeRate  int           `yaml:"handshake_rate" doc:"handshakes that may begin in a second; further ones wait; 0 for no limit"`
	TicketRotation time.Duration `yaml:"ticket_rotation" doc:"how long a key of session tickets is used for new ones; for twice as long after that the tickets stay good; 0 for no session tickets"`
}

// TLSCertificate is a certificate of the gateway.
type TLSCertificate struct {
	Cert string `yaml:"cert" doc:"PEM file of the certificate, followed by those between it and the root"`
	Key  string `yaml:"key" doc:"PEM file of its private key, without a passphrase"`
}

// The values of client_certs.
const (
	clientCertsNone     = "none"
	clientCertsOptional = "optional"
	clientCertsRequired = "required"
)

var clientCertsModes = map[string]tls.ClientAuthType{
	clientCertsNone: tls.NoClientCert, clientCertsOptional: tls.VerifyClientCertIfGiven, clientCertsRequired: tls.RequireAndVerifyClientCert,
}

var tlsVersions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// The values of tls.identity.
const (
	identityCN          = "cn"
	identitySAN         = "san"
	identityFingerprint = "fingerprint"
)

// handshakesMaxMax bounds the goroutines of handshakes.
const handshakesMaxMax = 100_000

// tlsFilesOf is what the TLS of a listener, at path, is read from.
func (c *Config) tlsFilesOf(path string, b *Bounds) *tlsFiles {
	f := &tlsFiles{ca: certFile{path + ".client_ca", b.ClientCA}, clients: b.ClientCerts}
	if b.ClientCA == c.TLS.ClientCA {
		f.ca.path = "tls.client_ca"
	}
	if b.TLSCert != "" {
		f.pairs = []certPair{{certFile{path + ".tls_cert", b.TLSCert}, certFile{path + ".tls_key", b.TLSKey}}}
	} else {
		for i, p := range c.TLS.Certificates {
			at := fmt.Sprintf("tls.certificates[%d]", i)
			f.pairs = append(f.pairs, certPair{certFile{at + ".cert", p.Cert}, certFile{at + ".key", p.Key}})
		}
	}
	for i, name := range c.TLS.CRL {
		f.crl = append(f.crl, certFile{fmt.Sprintf("tls.crl[%d]", i), name})
	}
	f.listsOfOthers = slices.ContainsFunc(c.Listeners, func(text string) bool {
		l, err := ParseListener(text)
		return err == nil && l.has("client_ca")
	})
	return f
}

// validateTLS judges what concerns all listeners.
func (c *Config) validateTLS(v *validator) {
	t := &c.TLS
	v.oneOf("tls.min_version", t.MinVersion, "1.2", "1.3")
	v.oneOf("tls.identity", t.Identity, identityCN, identitySAN, identityFingerprint)
	v.between("tls.handshakes_max", t.HandshakesMax, 1, handshakesMaxMax)
	v.between("tls.handshake_rate", t.HandshakeRate, 0, 1_000_000)
	if t.TicketRotation != 0 {
		v.lasts("tls.ticket_rotation", t.TicketRotation, time.Minute)
	}
}

// validateTLSListener judges the TLS of one listener, and reads its files.
func (c *Config) validateTLSListener(v *validator, path string, l Listener, b *Bounds) {
	own := slices.ContainsFunc([]string{"tls_cert", "tls_key", "client_certs", "client_ca"}, l.has)
	if !l.secure() {
		if own {
			v.add(path, l.Scheme+":// has no TLS, and so no certificates", "mqtts://, wss:// or tls:// (both on one port)")
		}
		return
	}
	if (b.TLSCert == "") != (b.TLSKey == "") {
		v.add(path, "a certificate needs both tls_cert and tls_key", "")
		return
	}
	if clientCertsModes[b.ClientCerts] == tls.NoClientCert && b.ClientCerts != clientCertsNone {
		return // said where the setting is judged
	}
	once := validator{}
	c.tlsFilesOf(path, b).load(&once, &validator{})
	for _, e := range once.errs {
		if !slices.ContainsFunc(v.errs, func(o *FieldError) bool { return *o == *e }) { // listeners share files
			v.errs = append(v.errs, e)
		}
	}
}

// Warnings is what is not wrong with c, but may be soon, or is not what was meant: certificates and revocation lists whose time is
// over, keys that anybody may read. It is for a valid c, and reads files.
func (c *Config) Warnings() []*FieldError {
	var all []*FieldError
	for i, text := range c.Listeners {
		l, err := ParseListener(text)
		if err != nil || !l.secure() {
			continue
		}
		path := fmt.Sprintf("listeners[%d]", i)
		b := c.listenerBounds(&validator{}, path, l)
		warn := validator{}
		c.tlsFilesOf(path, &b).load(&validator{}, &warn)
		for _, e := range warn.errs {
			if !slices.ContainsFunc(all, func(o *FieldError) bool { return *o == *e }) {
				all = append(all, e)
			}
		}
	}
	return all
}

// has tells whether the listener gives a bound of its own.
func (l Listener) has(name string) bool {
	for pair := range strings.SplitSeq(l.Query, "&") {
		if given, _, _ := strings.Cut(pair, "="); given == name {
			return true
		}
	}
	return false
}
