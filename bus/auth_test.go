package bus_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

// works publishes one message and waits for its confirmation.
func works(t *testing.T, b *bus.Bus) {
	t.Helper()
	if st := b.Status(); !st.Connected() {
		t.Fatalf("status %+v", st)
	}
	next := newBatch(text("a", "x"))
	b.NewPublisher(nil).Offer(next)
	next.wait(t)
}

func file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestToken(t *testing.T) {
	s := bustest.Start(t, func(o *server.Options) { o.Authorization = "secret" })
	works(t, open(t, s, func(o *bus.Options) { o.Token = "secret" }))
}

func TestUserAndPassword(t *testing.T) {
	s := bustest.Start(t, func(o *server.Options) { o.Username, o.Password = "gate", "secret" })
	works(t, open(t, s, func(o *bus.Options) { o.User, o.Password = "gate", "secret" }))
	works(t, open(t, s, func(o *bus.Options) { o.URLs[0] = strings.Replace(o.URLs[0], "://", "://gate:secret@", 1) }))

	b := open(t, s, func(o *bus.Options) { o.User, o.Password = "gate", "wrong" })
	if st := b.Status(); st.Connected() || st.Err == nil || strings.Contains(st.Err.Error(), "wrong") {
		t.Fatalf("%+v", st)
	}
}

func TestPermissions(t *testing.T) {
	s := bustest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "gate", Password: "p", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{"no.>"}}, Subscribe: &server.SubjectPermission{Deny: []string{"no.>"}},
		}}}
	})
	b := open(t, s, func(o *bus.Options) { o.User, o.Password = "gate", "p" })
	subscribe(t, b, 1, "no/x", "")
	next := newBatch(text("no/1", ""), text("yes/1", ""))
	b.NewPublisher(nil).Offer(next)
	next.wait(t)
	eventually(t, "both counted", func() bool { return b.Counters().PermissionDenied == 2 })
	if b.Counters().Disconnects != 0 {
		t.Fatal("a refused message broke the connection")
	}
}

func TestNKey(t *testing.T) {
	user, _ := nkeys.CreateUser()
	public, _ := user.PublicKey()
	seed, _ := user.Seed()
	s := bustest.Start(t, func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} })
	works(t, open(t, s, func(o *bus.Options) { o.NKeyFile = file(t, "user.nk", seed) }))
}

func TestCreds(t *testing.T) {
	operator, _ := nkeys.CreateOperator()
	operatorKey, _ := operator.PublicKey()
	account, _ := nkeys.CreateAccount()
	accountKey, _ := account.PublicKey()
	user, _ := nkeys.CreateUser()
	userKey, _ := user.PublicKey()
	seed, _ := user.Seed()
	accountJWT, err := jwt.NewAccountClaims(accountKey).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	userJWT, err := jwt.NewUserClaims(userKey).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(userJWT, seed)
	if err != nil {
		t.Fatal(err)
	}
	s := bustest.Start(t, func(o *server.Options) {
		o.JetStream = false
		o.TrustedKeys = []string{operatorKey}
		resolver := &server.MemAccResolver{}
		if err := resolver.Store(accountKey, accountJWT); err != nil {
			t.Fatal(err)
		}
		o.AccountResolver = resolver
	})
	works(t, open(t, s, func(o *bus.Options) { o.CredsFile = file(t, "user.creds", creds) }))
}

// certificate makes a certificate for 127.0.0.1, signed by parent or by itself, and returns it with the PEM of both parts.
func certificate(t *testing.T, name string, parent *tls.Certificate) (pair tls.Certificate, certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: parent == nil, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signer, signerKey := template, any(key)
	if parent != nil {
		signer, signerKey = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &key.PublicKey, signerKey)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	if pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return pair, certPEM, keyPEM
}

func TestTLSWithClientCertificate(t *testing.T) {
	ca, caPEM, _ := certificate(t, "ca", nil)
	serverPair, _, _ := certificate(t, "server", &ca)
	_, clientCert, clientKey := certificate(t, "client", &ca)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(caPEM)
	s := bustest.Start(t, func(o *server.Options) {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{serverPair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
		o.TLS, o.TLSVerify, o.TLSTimeout = true, true, 5
	})
	b := open(t, s, func(o *bus.Options) {
		o.TLSCAFile = file(t, "ca.pem", caPEM)
		o.TLSCertFile, o.TLSKeyFile = file(t, "c.pem", clientCert), file(t, "k.pem", clientKey)
	})
	works(t, b)
	s.Sever()
	eventually(t, "reconnected", func() bool { return b.Status().Connected() && b.Status().Reconnects > 0 })
	works(t, b)

	stranger := open(t, s, func(o *bus.Options) { o.TLS = true })
	if st := stranger.Status(); st.Connected() || st.Err == nil {
		t.Fatalf("trusts an unknown certificate: %+v", st)
	}
}

func TestBadOptionsAreNamedAllAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		o    bus.Options
		want []string
	}{
		"nothing":   {bus.Options{}, []string{"neither"}},
		"both":      {bus.Options{Embedded: true, URLs: []string{"nats://x"}, Token: "t"}, []string{"not both", "credentials are for", "data directory"}},
		"url":       {bus.Options{URLs: []string{"http://u:topsecret@h:1", "nats://:1", "nats://u:topsecret@h:port"}}, []string{"scheme", "no host", "does not parse"}},
		"logins":    {bus.Options{URLs: []string{"h"}, Token: "t", User: "u"}, []string{"only one"}},
		"creds":     {bus.Options{URLs: []string{"h"}, CredsFile: "/nonexistent/x"}, []string{"credentials file"}},
		"nkey, tls": {bus.Options{URLs: []string{"h"}, NKeyFile: "/nonexistent/x", TLSCAFile: "/nonexistent/y"}, []string{"nkey file", "CA file"}},
		"pair":      {bus.Options{URLs: []string{"h"}, TLSCertFile: "/nonexistent/x"}, []string{"certificate and key"}},
		"no pem":    {bus.Options{URLs: []string{"h"}, TLSCAFile: "/dev/null"}, []string{"no PEM"}},
	} {
		_, err := bus.Open(t.Context(), c.o)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range append(c.want, "bus:") {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", name, err, want)
			}
		}
		if strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%s: %q tells the password", name, err)
		}
	}
}

func TestOpenWhileAwayConnectsLater(t *testing.T) {
	s := bustest.Start(t)
	s.Stop()
	b := open(t, s)
	if st := b.Status(); st.State != bus.Connecting || st.Err == nil {
		t.Fatalf("%+v", st)
	}
	next := newBatch(text("a", "x"))
	b.NewPublisher(nil).Offer(next)
	s.Restart()
	next.wait(t)
}

func TestObserverLogin(t *testing.T) {
	s := bustest.Start(t, func(o *server.Options) { o.Authorization = "secret" })
	s.Login(nats.Token("secret"))
	_ = s.Conn(t)
}
