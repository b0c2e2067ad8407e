package gateway

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// revoked are the certificates that authorities have taken back, by authority. Not changed once loaded.
type revoked map[[32]byte]*revocations

// revocations is what the newest list of one authority says.
type revocations struct {
	number  *big.Int // of the list; nil: it has none
	made    time.Time
	serials map[string]struct{}
}

// authorityKey names an authority by its name and its key: after a renewal there may be two of one name.
func authorityKey(cert *x509.Certificate) [32]byte {
	return sha256.Sum256(append(bytes.Clone(cert.RawSubject), cert.RawSubjectPublicKeyInfo...))
}

// load reads the lists of a file, each of which one of the authorities must have signed, unless it may be for other listeners. A list that nobody
// heeds would leave those in who are revoked.
func (r *revoked) load(file certFile, authorities []*x509.Certificate, ofOthers bool, v, warn *validator) {
	text, ok := file.read(v)
	if !ok {
		return
	}
	ders := [][]byte{}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "X509 CRL" {
			ders = append(ders, block.Bytes)
		}
	}
	if len(ders) == 0 && !bytes.HasPrefix(text, []byte("-----")) {
		ders = append(ders, text)
	}
	if len(ders) == 0 {
		v.add(file.path, file.name+" has no revocation list in it", "a CRL of version 2, as openssl ca -gencrl makes with crlnumber or crl_extensions in its configuration")
	}
	for _, der := range ders {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			v.add(file.path, fmt.Sprintf("%s is no revocation list: %v", file.name, err), "a CRL of version 2, as openssl ca -gencrl makes with crlnumber or crl_extensions in its configuration")
			continue
		}
		unknown := v
		if ofOthers {
			unknown = warn
		}
		r.add(file, list, authorities, v, warn, unknown)
	}
}

func (r *revoked) add(file certFile, list *x509.RevocationList, authorities []*x509.Certificate, v, warn, unknown *validator) {
	for _, e := range list.Extensions {
		if e.Critical { // a delta, or a part: it does not tell all by itself (RFC 5280 §5.2)
			v.add(file.path, fmt.Sprintf("%s: a list with the critical extension %s is not understood", file.name, e.Id), "a full CRL of the authority")
			return
		}
	}
	var by *x509.Certificate
	var err error
	for _, a := range authorities {
		if !bytes.Equal(a.RawSubject, list.RawIssuer) {
			continue
		}
		if err = list.CheckSignatureFrom(a); err == nil {
			by = a
			break
		}
	}
	switch {
	case by == nil && err != nil:
		v.add(file.path, fmt.Sprintf("%s: the list of %s is not signed by it: %v", file.name, list.Issuer, err), "the list as the authority made it")
		return
	case by == nil:
		unknown.add(file.path, fmt.Sprintf("%s is a list of %s, which is none of the authorities in client_ca", file.name, list.Issuer), "its certificate in client_ca, or leave the list out")
		return
	}
	if now := time.Now(); !list.NextUpdate.IsZero() && now.After(list.NextUpdate) {
		warn.add(file.path, fmt.Sprintf("%s: the list of %s should have been replaced on %s; who was revoked since is let in", file.name, list.Issuer,
			list.NextUpdate.Format(time.DateTime)), "a newer list; it is read as soon as it is there")
	}
	n := &revocations{number: list.Number, made: list.ThisUpdate, serials: make(map[string]struct{}, len(list.RevokedCertificateEntries))}
	for i := range list.RevokedCertificateEntries {
		n.serials[string(list.RevokedCertificateEntries[i].SerialNumber.Bytes())] = struct{}{}
	}
	if *r == nil {
		*r = revoked{}
	}
	if old := (*r)[authorityKey(by)]; old == nil || n.newerThan(old) {
		(*r)[authorityKey(by)] = n
	}
}

func (n *revocations) newerThan(o *revocations) bool {
	if n.number != nil && o.number != nil {
		return n.number.Cmp(o.number) > 0
	}
	return n.made.After(o.made)
}

// has tells whether a certificate is revoked.
func (r revoked) has(one issued) bool {
	list := r[one.by]
	if list == nil {
		return false
	}
	_, is := list.serials[one.serial]
	return is
}

// hasAuthority tells whether an authority is revoked by another. It may be trusted for the sake of the lists that it signs, and chains end with it then. Of
// itself a list says nothing: a root is often number 1 beside the first that it issued.
func (r revoked) hasAuthority(a *x509.Certificate, all []*x509.Certificate) bool {
	for _, by := range all {
		if bytes.Equal(by.RawSubject, a.RawIssuer) && authorityKey(by) != authorityKey(a) && r.has(issued{authorityKey(by), string(a.SerialNumber.Bytes())}) && a.CheckSignatureFrom(by) == nil {
			return true
		}
	}
	return false
}

// accepts tells whether a chain is good: from the device's own certificate up to one that is trusted, nobody is revoked.
func (c *credentials) accepts(p *proof) bool {
	for _, l := range p.links {
		if c.revoked.has(l) {
			return false
		}
		if c.trusted[l.by] {
			return true
		}
	}
	return c.trusted[p.root]
}
