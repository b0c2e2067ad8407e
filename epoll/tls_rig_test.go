package epoll

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"
)

// authority issues the certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	a := &authority{pool: x509.NewCertPool()}
	pair := a.issue(t, "authority")
	a.cert, a.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	a.pool.AddCert(a.cert)
	return a
}

// issue returns a certificate for 127.0.0.1 with the name, signed by the authority, or by itself if there is none yet.
func (a *authority) issue(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IsCA:        a.cert == nil, BasicConstraintsValid: true,
	}
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// secureRig is a rig whose listener speaks TLS.
type secureRig struct {
	*rig
	ca     *authority
	config *tls.Config
	tls    *TLS
	addr   netip.AddrPort
	adopts func()
}

func newSecureRig(t *testing.T, o Options, ho HandshakeOptions) *secureRig {
	t.Helper()
	h := NewHandshaker(ho)
	t.Cleanup(h.Close)
	ca := newAuthority(t)
	r := &secureRig{rig: newRig(t, o), ca: ca, config: &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "server")}}}
	r.tls = &TLS{Config: func() *tls.Config { return r.config }, Handshaker: h}
	r.clock = processNanos
	r.open = func(c *Conn) { c.StartTLS(r.tls) }
	r.data = func(c *Conn, p []byte) []byte { put(c, p); return nil }
	r.addr = r.listen()
	return r
}

func (r *secureRig) client(version uint16) *tls.Config {
	return &tls.Config{RootCAs: r.ca.pool, ServerName: "127.0.0.1", MinVersion: version, MaxVersion: version}
}

func (r *secureRig) dial(c *tls.Config) (*tls.Conn, error) {
	d := net.Dialer{Timeout: 20 * time.Second}
	conn, err := tls.DialWithDialer(&d, "tcp", r.addr.String(), c)
	if err == nil {
		r.t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

// with runs what a peer does, beside the loop.
func (r *secureRig) with(what string, peer func() error) {
	r.t.Helper()
	done := make(chan error, 1)
	go func() {
		err := peer()
		done <- err
		r.Wake()
	}()
	var err error
	r.until(what, func() bool {
		select {
		case err = <-done:
			return true
		default:
			return false
		}
	})
	if err != nil {
		r.t.Fatalf("%s: %v", what, err)
	}
}

var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// exchange sends p and expects it back.
func exchange(c net.Conn, p []byte) error {
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(p)
		sent <- err
	}()
	got := make([]byte, len(p))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, p) {
		return io.ErrNoProgress
	}
	return <-sent
}

func addrPortOf(t *testing.T, l net.Listener) netip.AddrPort {
	t.Helper()
	return l.Addr().(*net.TCPAddr).AddrPort()
}
