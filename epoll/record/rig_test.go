package record

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
	_ "unsafe" // for the order of suites of crypto/tls
)

// crypto/tls has no setting for the suites of TLS 1.3; these two it keeps in place for those who must choose.
//
//go:linkname suites13 crypto/tls.defaultCipherSuitesTLS13
var suites13 []uint16

//go:linkname suites13NoAES crypto/tls.defaultCipherSuitesTLS13NoAES
var suites13NoAES []uint16

// pipe is one direction of a connection in memory, without a limit.
type pipe struct {
	mu     sync.Mutex
	grown  sync.Cond
	bytes  bytes.Buffer
	closed bool
}

func newPipe() *pipe {
	p := &pipe{}
	p.grown.L = &p.mu
	return p
}

func (p *pipe) Read(to []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.bytes.Len() == 0 {
		if p.closed {
			return 0, io.EOF
		}
		p.grown.Wait()
	}
	return p.bytes.Read(to)
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.grown.Broadcast()
	return p.bytes.Write(b)
}

// end is one end of a connection. It reads at most one record at a time, so that crypto/tls does not read ahead, and
// remembers what was written.
type end struct {
	net.Conn // nil: crypto/tls asks for no more than what is below
	in, out  *pipe
	record   []byte
	written  []byte
}

func (e *end) Read(to []byte) (int, error) {
	if len(e.record) == 0 {
		e.record = e.next()
	}
	if len(e.record) == 0 {
		return 0, io.EOF
	}
	n := copy(to, e.record)
	e.record = e.record[n:]
	return n, nil
}

// next waits for a whole record; nil at the end.
func (e *end) next() []byte {
	header := make([]byte, headerLen)
	if _, err := io.ReadFull(e.in, header); err != nil {
		return nil
	}
	record := append(header, make([]byte, int(header[3])<<8|int(header[4]))...)
	if _, err := io.ReadFull(e.in, record[headerLen:]); err != nil {
		return nil
	}
	return record
}

func (e *end) Write(b []byte) (int, error) {
	e.written = append(e.written, b...)
	return e.out.Write(b)
}

func (e *end) Close() error {
	e.out.mu.Lock()
	defer e.out.mu.Unlock()
	e.out.closed = true
	e.out.grown.Broadcast()
	return nil
}

func (e *end) SetDeadline(time.Time) error      { return nil }
func (e *end) SetWriteDeadline(time.Time) error { return nil }
func (e *end) SetReadDeadline(time.Time) error  { return nil }

// connection is one whose one side goes on as a State while the other stays crypto/tls.
type connection struct {
	t     testing.TB
	peer  *tls.Conn
	wire  *end // ours
	state State
	k     *Ciphers
}

const testID = 7

// kindOf is what a connection is tested as.
type kindOf struct {
	suite  uint16
	server bool // our side
}

func (k kindOf) String() string {
	return fmt.Sprintf("%s/server=%v", tls.CipherSuiteName(k.suite), k.server)
}

func kinds() []kindOf {
	var list []kindOf
	for _, u := range suites {
		list = append(list, kindOf{u.id, true}, kindOf{u.id, false})
	}
	return list
}

// each runs the test with every suite in both roles.
func each(t *testing.T, f func(t *testing.T, kind kindOf)) {
	for _, kind := range kinds() {
		t.Run(kind.String(), func(t *testing.T) { f(t, kind) })
	}
}

// each13 runs the test with every suite of TLS 1.3 in both roles.
func each13(t *testing.T, f func(t *testing.T, kind kindOf)) {
	each(t, func(t *testing.T, kind kindOf) {
		if !suiteOf(kind.suite).is12 {
			f(t, kind)
		}
	})
}

// connect shakes hands and takes our side over.
func connect(t testing.TB, kind kindOf) *connection {
	ours, peer, keys := shake(t, kind)
	c := &connection{t: t, peer: peer, wire: ours, k: NewCiphers(8)}
	if suiteOf(kind.suite).is12 {
		serverSent := ours.written
		if !kind.server {
			serverSent = peer.NetConn().(*end).written
		}
		const randomAt = headerLen + 4 + 2
		c.state = must2(New12(kind.suite, keys.secret("CLIENT_RANDOM"), keys.random(), serverSent[randomAt:randomAt+32], kind.server))
		return c
	}
	read, write := keys.secret("CLIENT_TRAFFIC_SECRET_0"), keys.secret("SERVER_TRAFFIC_SECRET_0")
	if !kind.server {
		read, write = write, read
	}
	c.state = must2(New13(kind.suite, read, write))
	if err := c.state.CountWritten(ours.written); err != nil {
		t.Fatal(err)
	}
	return c
}

var shaking sync.Mutex

// shake lets crypto/tls do both sides of a handshake.
func shake(t testing.TB, kind kindOf) (ours *end, peer *tls.Conn, keys *keyLog) {
	t.Helper()
	shaking.Lock()
	defer shaking.Unlock()
	defer func(a, b []uint16) { suites13, suites13NoAES = a, b }(suites13, suites13NoAES)
	suites13, suites13NoAES = []uint16{kind.suite}, []uint16{kind.suite}

	keys = &keyLog{}
	config := &tls.Config{Certificates: certificates(), InsecureSkipVerify: true, KeyLogWriter: keys,
		ClientSessionCache: tls.NewLRUClientSessionCache(1), ServerName: "x"}
	if suiteOf(kind.suite).is12 {
		config.MaxVersion, config.CipherSuites = tls.VersionTLS12, []uint16{kind.suite}
	}
	a, b := newPipe(), newPipe()
	ours, other := &end{in: a, out: b}, &end{in: b, out: a}
	mine := tls.Server(ours, config)
	peer = tls.Client(other, &tls.Config{InsecureSkipVerify: true, MaxVersion: config.MaxVersion, ClientSessionCache: tls.NewLRUClientSessionCache(1), ServerName: "x"})
	if !kind.server {
		mine, peer = tls.Client(ours, config), tls.Server(other, &tls.Config{Certificates: certificates(), MaxVersion: config.MaxVersion})
	}
	done := make(chan error, 1)
	go func() { done <- peer.Handshake() }()
	if err := mine.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := mine.ConnectionState().CipherSuite; got != kind.suite {
		t.Fatalf("the handshake chose %#x, want %#x", got, kind.suite)
	}
	return ours, peer, keys
}

// keyLog is what crypto/tls writes of one handshake.
type keyLog struct{ bytes.Buffer }

func (k *keyLog) field(label string, i int) []byte {
	for line := range strings.Lines(k.String()) {
		if f := strings.Fields(line); f[0] == label {
			return must2(hex.DecodeString(f[i]))
		}
	}
	panic("no " + label + " in the key log")
}

func (k *keyLog) random() []byte             { return k.field("CLIENT_RANDOM", 1) }
func (k *keyLog) secret(label string) []byte { return k.field(label, 2) }

// send seals data and gives it to the peer.
func (c *connection) send(data []byte) {
	c.put(c.state.Seal(c.k, testID, nil, data))
}

func (c *connection) put(records []byte) {
	c.t.Helper()
	if _, err := c.wire.out.Write(records); err != nil {
		c.t.Fatal(err)
	}
}

// receive opens the next record.
func (c *connection) receive() ([]byte, Kind, error) {
	return c.state.Open(c.k, testID, c.wire.next())
}

// expect opens records until they have brought want.
func (c *connection) expect(want []byte) {
	c.t.Helper()
	var got []byte
	for len(got) < len(want) {
		plain, kind, err := c.receive()
		if err != nil || kind != Data && kind != Handled {
			c.t.Fatalf("kind %d, %v after %d of %d bytes", kind, err, len(got), len(want))
		}
		got = append(got, plain...)
	}
	if !bytes.Equal(got, want) {
		c.t.Fatalf("other %d bytes came than the peer has sent", len(want))
	}
}

// peerExpects reads want on the other side.
func (c *connection) peerExpects(want []byte) {
	c.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c.peer, got); err != nil {
		c.t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		c.t.Fatalf("the peer has got other %d bytes than were sealed", len(want))
	}
}

func (c *connection) peerSends(data []byte) {
	c.t.Helper()
	if _, err := c.peer.Write(data); err != nil {
		c.t.Fatal(err)
	}
}

// twins are two States that face each other.
func twins(t testing.TB, suite uint16) (a, b State) {
	u := suiteOf(suite)
	one, other := make([]byte, 48), make([]byte, 48)
	rand.Read(one)
	rand.Read(other)
	if u.is12 {
		random := one[:32]
		return must2(New12(suite, one, random, other[:32], true)), must2(New12(suite, one, random, other[:32], false))
	}
	one, other = one[:u.hashLen()], other[:u.hashLen()]
	return must2(New13(suite, one, other)), must2(New13(suite, other, one))
}

var certificates = sync.OnceValue(func() []tls.Certificate {
	return []tls.Certificate{
		certificate(must2(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))),
		certificate(must2(rsa.GenerateKey(rand.Reader, 2048))),
	}
})

func certificate(key crypto.Signer) tls.Certificate {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"x"}, NotAfter: time.Now().Add(time.Hour)}
	der := must2(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func must2[T any](v T, err error) T {
	must(err)
	return v
}
