package gateway

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth"
)

// tlsDoor is TLS of one listener. Its files may change while it is open: who has come in stays, who comes then meets the new ones. Safe from any goroutine.
type tlsDoor struct {
	listener string // in metrics; set before Run
	tenants  *tenants
	files    *tlsFiles
	base     tls.Config // what does not come from files
	identity string     // tls.identity
	seen     *seenCerts
	epoll    epoll.TLS
	now      atomic.Pointer[tlsState]

	// Of the watch, under the gate's lock.
	tried, last []stamp // of the files as they were read last, and as they were seen last
	bad         string  // what was wrong with them when they were read last; empty: nothing
}

// tlsState is what a door has from its files at a time. Not changed once made, but for the ticket keys of config.
type tlsState struct {
	config     *tls.Config
	creds      *credentials
	generation uint64 // counts the states of a door
}

// protocolsOf are the names in ALPN of what a listener speaks.
var protocolsOf = map[listenerKind][]string{listenMQTT: {alpnMQTT}, listenWS: {alpnHTTP}, listenAny: {alpnMQTT, alpnHTTP}}

const (
	alpnMQTT = "mqtt"
	alpnHTTP = "http/1.1"
)

func newTLSDoor(g *Gateway, l Listener, files *tlsFiles, h *epoll.Handshaker, seen *seenCerts) *tlsDoor {
	d := &tlsDoor{
		listener: l.String(), tenants: g.tenants, files: files, identity: g.cfg.TLS.Identity, seen: seen,
		base: tls.Config{
			MinVersion: tlsVersions[g.cfg.TLS.MinVersion], NextProtos: protocolsOf[listenerSchemes[l.Scheme]],
			ClientAuth: clientCertsModes[files.clients], SessionTicketsDisabled: g.cfg.TLS.TicketRotation == 0,
		},
	}
	d.epoll = epoll.TLS{Config: func() *tls.Config { return d.now.Load().config }, Verified: d.verified, Handshaker: h}
	return d
}

// use has new handshakes meet what files have now. Called with the gate's lock held.
func (d *tlsDoor) use(creds *credentials, keys []bus.TicketKey) {
	s := &tlsState{config: d.base.Clone(), creds: creds}
	s.config.GetCertificate = creds.certs.choose
	s.config.ClientCAs = creds.pool
	s.config.GetConfigForClient = refuseServerName
	s.setTicketKeys(keys)
	if was := d.now.Load(); was != nil {
		s.generation = was.generation + 1
	}
	d.now.Store(s)
}

// setTicketKeys makes the keys of tickets from those that gateways share, and from what certificates of devices are held against: a ticket stands for a
// certificate that was verified, and must be worth nothing where, or when, others are trusted (CVE-2025-68121).
func (s *tlsState) setTicketKeys(shared []bus.TicketKey) {
	if s.config.SessionTicketsDisabled {
		return
	}
	keys := make([][32]byte, len(shared))
	for i := range shared {
		k, err := hkdf.Key(sha256.New, shared[i].Secret[:], nil, "tidegate session ticket "+string(s.creds.anchors[:]), len(keys[i]))
		if err != nil {
			panic(err) // of a length that was too long for SHA-256
		}
		copy(keys[i][:], k)
	}
	s.config.SetSessionTicketKeys(keys)
}

// What is wrong with certificates that are good as such.
var (
	errRevoked    = errors.New("the certificate, or one it comes from, is revoked, over or trusted no longer")
	errNameless   = errors.New("the certificate has no name for the device, see tls.identity")
	errTwoNamed   = errors.New("the certificate has several common names")
	errBadName    = errors.New("the name in the certificate is empty, too long or has control characters")
	errTwoTenants = errors.New("the certificate is that of several tenants")
	oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}
)

// verified is epoll.TLS.Verified: who a device is by its handshake. It runs for resumed sessions, too, whose certificate was verified when it was shown.
func (d *tlsDoor) verified(state tls.ConnectionState) (any, error) {
	files := d.now.Load()
	p := &tlsPeer{Peer: auth.Peer{ServerName: state.ServerName, Protocol: state.NegotiatedProtocol}, generation: files.generation}
	if len(state.VerifiedChains) == 0 {
		return p, nil
	}
	now := time.Now()
	if p.proofs = goodOf(state.VerifiedChains, files.creds, now); len(p.proofs) == 0 {
		return nil, errRevoked
	}
	leaf := state.VerifiedChains[0][0]
	p.CN, p.Names, p.ExpiresSec = leaf.Subject.CommonName, namesOf(leaf), leaf.NotAfter.Unix()
	sum := sha256.Sum256(leaf.Raw)
	p.Fingerprint = hex.EncodeToString(sum[:])
	var err error
	if p.User, err = userOf(leaf, &p.Peer, d.identity); err != nil {
		return nil, err
	}
	var two bool
	if p.Tenant, two = d.tenants.ofCertificate(leaf); two {
		return nil, errTwoTenants
	}
	d.seen.add(sum, p.ExpiresSec, now)
	return p, nil
}

// goodOf are the chains that have nobody in them whose time is over or who is revoked, and end with somebody who is still trusted: the handshake may have begun
// by files of before.
func goodOf(chains [][]*x509.Certificate, creds *credentials, now time.Time) (good []proof) {
	for _, chain := range chains {
		over := false
		for _, cert := range chain {
			over = over || now.After(cert.NotAfter) || now.Before(cert.NotBefore)
		}
		if p := proofOf(chain); !over && creds.accepts(&p) {
			good = append(good, p)
		}
	}
	return good
}

// namesOf are the subject alternative names: URI, DNS, e-mail, IP.
func namesOf(leaf *x509.Certificate) (names []string) {
	for _, u := range leaf.URIs {
		names = append(names, u.String())
	}
	names = append(append(names, leaf.DNSNames...), leaf.EmailAddresses...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// userBytesMax is the longest name of a device in a certificate; a longer one is refused.
const userBytesMax = 1024

// userOf is what names a device. A name that could be read in two ways, or forge a line of a log, is none.
func userOf(leaf *x509.Certificate, p *auth.Peer, identity string) (string, error) {
	user := p.Fingerprint
	switch identity {
	case identityCN:
		count := 0
		for i := range leaf.Subject.Names {
			if leaf.Subject.Names[i].Type.Equal(oidCommonName) {
				count++
			}
		}
		if count > 1 {
			return "", errTwoNamed
		}
		user = p.CN
	case identitySAN:
		if len(p.Names) == len(leaf.IPAddresses) {
			return "", errNameless
		}
		user = p.Names[0]
	}
	switch {
	case user == "":
		return "", errNameless
	case len(user) > userBytesMax, !utf8.ValidString(user), containsControl(user):
		return "", errBadName
	}
	return user, nil
}

func containsControl(s string) bool {
	for _, r := range s {
		if unicode.IsControl(r) {
			return true
		}
	}
	return false
}
