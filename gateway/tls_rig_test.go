package gateway

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// authority issues the certificates of a test, into files of one directory.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
	pool *x509.CertPool
	last int64 // serial number
}

// newAuthority makes one; its certificate is in the file name.pem of dir.
func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: dir, pool: x509.NewCertPool()}
	pair := a.issue(name, func(c *x509.Certificate) {
		c.Subject.CommonName = name
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	})
	a.cert, a.key = pair.Leaf, pair.PrivateKey.(crypto.Signer)
	a.pool.AddCert(a.cert)
	return a
}

// file is the name of a file.
func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// issue makes a certificate in the files name.pem and name.key, by the authority, or by itself while there is none.
func (a *authority) issue(name string, mods ...func(c *x509.Certificate)) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.last++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.last), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(100 * 24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, mod := range mods {
		mod(template)
	}
	parent, signer := template, crypto.Signer(key)
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", raw)
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// server issues a certificate for names and 127.0.0.1.
func (a *authority) server(name string, names ...string) tls.Certificate {
	a.t.Helper()
	return a.issue(name, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = names, []net.IP{net.IPv4(127, 0, 0, 1)} })
}

// revoke writes the list of what is revoked into a file.
func (a *authority) revoke(name string, next time.Time, certs ...tls.Certificate) {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: next}
	for _, c := range certs {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.Leaf.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name, "X509 CRL", der)
}

// write replaces a file as a whole, as those who care do.
func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(a.file(name+".new"), text, 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(a.file(name+".new"), a.file(name)); err != nil {
		a.t.Fatal(err)
	}
}

// secured has the listeners of a rig speak TLS, with the certificate server.pem, for 127.0.0.1: mqtts, wss and tls.
func (a *authority) secured(mods ...func(t *TLSCfg)) func(c *Config) {
	if _, err := os.Stat(a.file("server.pem")); err != nil {
		a.server("server")
	}
	return func(c *Config) {
		memoryOnly(c)
		c.Listeners = []string{"mqtts://127.0.0.1:0", "wss://127.0.0.1:0", "tls://127.0.0.1:0"}
		c.TLS.Certificates = []TLSCertificate{{a.file("server.pem"), a.file("server.key")}}
		for _, mod := range mods {
			mod(&c.TLS)
		}
	}
}

// wants has a gateway ask for certificates of devices from the authority ca.pem.
func (a *authority) wants(mode string) func(t *TLSCfg) {
	return func(t *TLSCfg) { t.ClientCerts, t.ClientCA = mode, a.file("ca.pem") }
}

// client trusts the authority.
func (a *authority) client(mods ...func(c *tls.Config)) *tls.Config {
	c := &tls.Config{RootCAs: a.pool, ServerName: "127.0.0.1"}
	for _, mod := range mods {
		mod(c)
	}
	return c
}

// showing has a client show a certificate.
func showing(cert tls.Certificate) func(c *tls.Config) {
	return func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} }
}

// openTLS does the handshake with a listener.
func (r *rig) openTLS(addr string, config *tls.Config) (*client, error) {
	r.t.Helper()
	c := tls.Client(r.dial(addr), config)
	return &client{t: r.t, conn: c, v: mqtt.V5}, c.Handshake()
}

// mustTLS is openTLS without an error.
func (r *rig) mustTLS(addr string, config *tls.Config) *client {
	r.t.Helper()
	c, err := r.openTLS(addr, config)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// tlsState is what the client knows of the handshake.
func (c *client) tlsState() tls.ConnectionState { return c.conn.(*tls.Conn).ConnectionState() }

// refusedTLS tells whether a handshake ended badly. In TLS 1.3 a client hears of it when it reads.
func (r *rig) refusedTLS(addr string, config *tls.Config) bool {
	r.t.Helper()
	c, err := r.openTLS(addr, config)
	if err != nil {
		return true
	}
	if err := c.tryWrite(c.connectPacket("")); err != nil {
		return true
	}
	_, err = c.next()
	return err != nil
}

// whoIs is what the gateway knows of a connected device.
func (r *rig) whoIs(id string) (w identity) {
	r.t.Helper()
	told := make(chan identity, 1)
	r.gw.home([]byte(id)).do(func(s *shard) {
		w := identity{}
		if sess := s.table.Get([]byte(id)); sess != nil {
			w = *s.devices.At(s.loop.Conn(epoll.Handle(sess.Owner())).Slot()).who()
		}
		told <- w
	})
	return <-told
}

func uri(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// mutes is a connection whose first write goes through, and which then hears nothing.
type mutes struct {
	net.Conn
	said chan struct{}
	once sync.Once
}

func (m *mutes) Write(p []byte) (n int, err error) {
	n, err = m.Conn.Write(p)
	m.once.Do(func() { close(m.said) })
	return n, err
}

func (m *mutes) Read([]byte) (int, error) { return 0, io.EOF }
