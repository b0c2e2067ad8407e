package gateway

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// certFile is a file and the setting that names it.
type certFile struct{ path, name string }

type certPair struct{ cert, key certFile }

// tlsFiles says what the TLS of one listener is read from. Not changed once made.
type tlsFiles struct {
	pairs   []certPair // the first is for those who ask for no name that another has
	clients string     // client_certs
	ca      certFile
	crl     []certFile
	// listsOfOthers tells that not all listeners have the same authorities, so that some lists may be for others.
	listsOfOthers bool
}

// credentials are what the files of a listener hold. Not changed once loaded.
type credentials struct {
	certs   certificates
	pool    *x509.CertPool    // of authorities for devices; nil: no certificates of devices
	trusted map[[32]byte]bool // these, by authorityKey
	anchors [32]byte          // stands for what certificates of devices are held against
	revoked revoked
}

// load reads the files. What is wrong with them goes to v, and then there are no credentials; what is only doubtful to warn.
func (f *tlsFiles) load(v, warn *validator) *credentials {
	before := len(v.errs)
	c := &credentials{}
	if len(f.pairs) == 0 {
		v.add("tls.certificates", "a listener with TLS needs a certificate, and there is none",
			"tls.certificates: [{cert: server.pem, key: server.key}], or tls_cert and tls_key of the listener")
	}
	for _, p := range f.pairs {
		p.key.warnOfMode(warn)
		if pair := p.load(v); pair != nil {
			warnOfTimes(warn, p.cert.path, p.cert.name, pair.Leaf)
			c.certs.add(pair)
		}
	}
	hash := sha256.New()
	hash.Write([]byte(f.clients))
	if f.clients != clientCertsNone {
		all := f.loadCA(v, warn)
		for _, file := range f.crl {
			c.revoked.load(file, all, f.listsOfOthers, v, warn)
		}
		c.pool, c.trusted = x509.NewCertPool(), map[[32]byte]bool{}
		for _, cert := range all {
			if c.revoked.hasAuthority(cert, all) {
				warn.add(f.ca.path, fmt.Sprintf("%s: %s is revoked by %s, and nobody is let in by it", f.ca.name, cert.Subject, cert.Issuer), "leave it out")
				continue
			}
			c.pool.AddCert(cert)
			c.trusted[authorityKey(cert)] = true
			hash.Write(cert.Raw)
		}
	}
	hash.Sum(c.anchors[:0])
	if len(v.errs) > before {
		return nil
	}
	return c
}

// load reads a certificate and its key; nil: it went to v what is wrong.
func (p certPair) load(v *validator) *tls.Certificate {
	cert, ok := p.cert.read(v)
	key, okKey := p.key.read(v)
	if !ok || !okKey {
		return nil
	}
	if bytes.Contains(key, []byte("ENCRYPTED")) {
		v.add(p.key.path, p.key.name+" is locked with a passphrase, which nobody can type here", "openssl pkey -in "+p.key.name+" -out FILE, and a mode of 0600 for that")
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	switch {
	case err == nil:
		return &pair
	case strings.Contains(err.Error(), "does not match"):
		v.add(p.key.path, p.key.name+" is not the key of the certificate in "+p.cert.name,
			fmt.Sprintf("the key that belongs to it: openssl x509 -in %s -noout -pubkey and openssl pkey -in %s -pubout show the same then", p.cert.name, p.key.name))
	case strings.Contains(err.Error(), " key"):
		v.add(p.key.path, fmt.Sprintf("%s cannot be used: %v", p.key.name, err), "a PEM file with the private key of "+p.cert.name)
	default:
		v.add(p.cert.path, fmt.Sprintf("%s cannot be used: %v", p.cert.name, err), "a PEM file with the certificate, followed by those between it and the root")
	}
	return nil
}

// loadCA reads the authorities, in an order that does not depend on that in the file.
func (f *tlsFiles) loadCA(v, warn *validator) (all []*x509.Certificate) {
	const fix = "a PEM file with the certificates of the authorities that issue those of your devices"
	if f.ca.name == "" {
		v.add(f.ca.path, "client_certs is "+f.clients+", and there is no authority that certificates could come from", fix)
		return nil
	}
	text, ok := f.ca.read(v)
	if !ok {
		return nil
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			v.add(f.ca.path, fmt.Sprintf("%s: certificate %d cannot be read: %v", f.ca.name, len(all)+1, err), fix)
			return nil
		}
		warnOfTimes(warn, f.ca.path, f.ca.name, cert)
		all = append(all, cert)
	}
	if len(all) == 0 {
		v.add(f.ca.path, f.ca.name+" has no certificate in it", fix)
	}
	slices.SortFunc(all, func(a, b *x509.Certificate) int { return bytes.Compare(a.Raw, b.Raw) })
	return all
}

// read reads the file; false: it went to v why it can't be.
func (f certFile) read(v *validator) ([]byte, bool) {
	text, err := os.ReadFile(f.name)
	switch {
	case err == nil:
		return text, true
	case errors.Is(err, fs.ErrNotExist):
		v.add(f.path, fmt.Sprintf("%q does not exist", f.name), "the name of a file, from the directory in which the gateway starts")
	default:
		v.add(f.path, fmt.Sprintf("cannot be read: %v", err), "a file that the user of the gateway may read")
	}
	return nil, false
}

// warnOfMode tells of a key that everybody on the machine may read.
func (f certFile) warnOfMode(warn *validator) {
	const byOthers = 0o004
	if info, err := os.Stat(f.name); err == nil && info.Mode().Perm()&byOthers != 0 {
		warn.add(f.path, fmt.Sprintf("%s may be read by every user of this machine (mode %04o)", f.name, info.Mode().Perm()), "chmod 0600 "+f.name+", or 0640 with the group of the gateway")
	}
}

// warnOfTimes tells of a certificate that is not valid now. The gateway serves all the same: devices without a clock may not mind.
func warnOfTimes(warn *validator, path, file string, cert *x509.Certificate) {
	now := time.Now()
	switch {
	case now.After(cert.NotAfter):
		warn.add(path, fmt.Sprintf("%s: the certificate of %s has expired on %s", file, cert.Subject, cert.NotAfter.Format(time.DateOnly)), "a new one")
	case now.Before(cert.NotBefore):
		warn.add(path, fmt.Sprintf("%s: the certificate of %s is not valid before %s", file, cert.Subject, cert.NotBefore.Format(time.DateTime)), "wait, or set the clock")
	}
}

// stamp tells whether a file may have changed. A link counts as what it leads to, as orchestrators change certificates by a link.
type stamp struct {
	modified time.Time
	size     int64
	inode    uint64
}

// stamps are those of all files, in a fixed order. One that is not there has the zero stamp.
func (f *tlsFiles) stamps() (all []stamp) {
	files := slices.Concat([]certFile{f.ca}, f.crl)
	for _, p := range f.pairs {
		files = append(files, p.cert, p.key)
	}
	for _, file := range files {
		all = append(all, stampOf(file.name))
	}
	return all
}

func stampOf(name string) (s stamp) {
	if info, err := os.Stat(name); err == nil {
		s.modified, s.size = info.ModTime(), info.Size()
		if sys, ok := info.Sys().(*syscall.Stat_t); ok {
			s.inode = sys.Ino
		}
	}
	return s
}
