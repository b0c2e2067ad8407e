package epoll

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/tidegate/tidegate/epoll/record"
)

// minder learns the keys of a handshake while crypto/tls does it. The secrets come by the KeyLogWriter, which is there to
// stay; what it does not tell is on the wire before our eyes: the server's random number in its hello, and how many
// records each side has sent under the keys. Owned by the goroutine that does the handshake.
type minder struct {
	left    int    // of the record that is being read
	written []byte // all records of ours

	read12, wrote12 counter
	clientRandom    []byte
	serverRandom    []byte
	master          []byte // of the session to be resumed, TLS 1.2

	also keyLog // the KeyLogWriter that Config had

	clientSecret, serverSecret secret // of data, TLS 1.3
	full                       secret // the master secret, TLS 1.2, unless resumed
}

// secret is one of up to 48 bytes, which the hash of the suite decides.
type secret struct {
	bytes [48]byte
	n     int
}

func (s *secret) get() []byte { return s.bytes[:s.n] }

type keyLog interface{ Write(p []byte) (int, error) }

// counter counts the records behind ChangeCipherSpec, which are those under the keys in TLS 1.2.
type counter struct {
	changed bool
	n       uint64
}

const (
	recordHeader     = 5
	typeChangeCipher = 20
	typeHandshake    = 22
	helloOfClient    = 1
	helloOfServer    = 2
	randomOffset     = recordHeader + 4 + 2 // behind type and length of the message and its version
)

func (c *counter) count(rec []byte) {
	switch {
	case rec[0] == typeChangeCipher:
		*c = counter{changed: true}
	case c.changed:
		c.n++
	}
}

// listen returns a clone of the config that tells us the secrets and offers what the record layer has. It is made anew
// for each handshake, at about a microsecond.
func (m *minder) listen(config *tls.Config) *tls.Config {
	clone := config.Clone()
	if clone.KeyLogWriter != nil {
		m.also = clone.KeyLogWriter
	}
	clone.KeyLogWriter = (*keyLogWriter)(m)
	m.mindTickets(config, clone)
	clone.MinVersion = max(clone.MinVersion, tls.VersionTLS12)
	chosen := clone.CipherSuites
	clone.CipherSuites = record.Suites12()
	if len(chosen) > 0 {
		clone.CipherSuites = slices.DeleteFunc(clone.CipherSuites, func(id uint16) bool { return !slices.Contains(chosen, id) })
	}
	if choose := config.GetConfigForClient; choose != nil {
		clone.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if chosen == nil || err != nil {
				return nil, err
			}
			return m.listen(chosen), nil
		}
	}
	return clone
}

// mindTickets has tickets wrapped by the config itself, so that all its clones have the same keys for them. What is
// unwrapped tells the master secret of a resumption in TLS 1.2, which is not logged. A client can't see the tickets of TLS
// 1.3, which come after the handshake, and does without.
func (m *minder) mindTickets(config, clone *tls.Config) {
	clone.ClientSessionCache = nil
	if clone.WrapSession == nil {
		clone.WrapSession = config.EncryptTicket
	}
	unwrap := config.UnwrapSession
	if unwrap == nil {
		unwrap = config.DecryptTicket
	}
	clone.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		session, err := unwrap(ticket, state)
		if session != nil && err == nil && state.Version == tls.VersionTLS12 {
			m.master = masterOf(session)
		}
		return session, err
	}
}

// masterOf finds the secret in a session by its published encoding: version, type, suite and time, then the secret behind
// a byte with its length.
func masterOf(session *tls.SessionState) []byte {
	const at = 2 + 1 + 2 + 8
	p, err := session.Bytes()
	if err != nil || len(p) <= at || len(p) <= at+int(p[at]) {
		return nil
	}
	return p[at+1:][:p[at]]
}

// keyLogWriter is the minder as crypto/tls wants it.
type keyLogWriter minder

// Write takes one line: label, client random, secret; the latter two in hexadecimal.
func (w *keyLogWriter) Write(line []byte) (int, error) {
	label, rest, _ := bytes.Cut(line, []byte(" "))
	_, text, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
	var to *secret
	switch string(label) {
	case "CLIENT_TRAFFIC_SECRET_0":
		to = &w.clientSecret
	case "SERVER_TRAFFIC_SECRET_0":
		to = &w.serverSecret
	case "CLIENT_RANDOM":
		to = &w.full
	}
	if to != nil {
		if hex.DecodedLen(len(text)) > len(to.bytes) {
			return 0, fmt.Errorf("epoll: key log: %s has %d digits", label, len(text))
		}
		n, err := hex.Decode(to.bytes[:], text)
		if err != nil {
			return 0, fmt.Errorf("epoll: key log: %w", err)
		}
		to.n = n
	}
	if w.also != nil {
		return w.also.Write(line)
	}
	return len(line), nil
}

// saw is told of each record that crypto/tls reads.
func (m *minder) saw(rec []byte) {
	m.read12.count(rec)
	m.lookForHello(rec)
}

// wrote is told of what crypto/tls writes, which is whole records.
func (m *minder) wrote(p []byte) {
	m.written = append(m.written, p...)
	for len(p) >= recordHeader {
		n := min(len(p), recordHeader+int(p[3])<<8+int(p[4]))
		m.wrote12.count(p[:n])
		m.lookForHello(p[:n])
		p = p[n:]
	}
}

// lookForHello finds the random numbers, whichever side we are.
func (m *minder) lookForHello(rec []byte) {
	if rec[0] != typeHandshake || len(rec) < randomOffset+32 {
		return
	}
	switch random := rec[randomOffset:][:32]; {
	case rec[recordHeader] == helloOfClient && m.clientRandom == nil:
		m.clientRandom = bytes.Clone(random)
	case rec[recordHeader] == helloOfServer && m.serverRandom == nil:
		m.serverRandom = bytes.Clone(random)
	}
}

var errKeys = errors.New("epoll: crypto/tls did not tell the keys of a handshake")

// keys returns the record layer behind the finished handshake.
func (m *minder) keys(state *tls.ConnectionState, client bool) (record.State, error) {
	if state.Version == tls.VersionTLS13 {
		return m.keys13(state.CipherSuite, client)
	}
	master := m.master
	if !state.DidResume {
		master = m.full.get()
	}
	if len(master) == 0 || m.clientRandom == nil || m.serverRandom == nil {
		return record.State{}, errKeys
	}
	k, err := record.New12(state.CipherSuite, master, m.clientRandom, m.serverRandom, !client)
	k.SetSequence(m.read12.n, m.wrote12.n)
	return k, err
}

func (m *minder) keys13(suite uint16, client bool) (record.State, error) {
	read, write := m.clientSecret.get(), m.serverSecret.get()
	if client {
		read, write = write, read
	}
	if len(read) == 0 || len(write) == 0 {
		return record.State{}, errKeys
	}
	k, err := record.New13(suite, read, write)
	if err != nil {
		return k, err
	}
	// A server's tickets are under this key already. They go out before the client's Finished if no certificate is asked
	// for, else behind it.
	err = k.CountWritten(m.written)
	return k, err
}
