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
	left   int    // of the record that is being read
	flight []byte // the records that we wrote since the last one we read

	read12, wrote12 counter
	serverRandom    []byte

	also    keyLog // the KeyLogWriter that Config had
	lines   []byte
	secrets map[string][2][]byte // by label: client random, secret
}

type keyLog interface{ Write(p []byte) (int, error) }

// counter counts the records behind ChangeCipherSpec, which are those under the keys in TLS 1.2.
type counter struct {
	changed bool
	n       uint64
}

const (
	recordHeader       = 5
	typeChangeCipher   = 20
	typeHandshake      = 22
	helloOfServer      = 2
	serverRandomOffset = recordHeader + 4 + 2 // behind type and length of the message and its version
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
// for each handshake, at about a microsecond: so tickets are encrypted with the keys that the config has now.
func (m *minder) listen(config *tls.Config) *tls.Config {
	// As crypto/tls does it at the first handshake: makes the keys for tickets, or renews them, so that clones share them.
	_, _ = config.DecryptTicket(nil, tls.ConnectionState{})
	clone := config.Clone()
	if clone.KeyLogWriter != nil {
		m.also = clone.KeyLogWriter
	}
	clone.KeyLogWriter = (*keyLogWriter)(m)
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

// keyLogWriter is the minder as crypto/tls wants it.
type keyLogWriter minder

// Write takes one line: label, client random, secret; the latter two in hexadecimal.
func (w *keyLogWriter) Write(line []byte) (int, error) {
	words := bytes.Fields(line)
	if len(words) != 3 {
		return 0, fmt.Errorf("epoll: a key log line of %d words", len(words))
	}
	var pair [2][]byte
	for i, word := range words[1:] {
		b := make([]byte, hex.DecodedLen(len(word)))
		if _, err := hex.Decode(b, word); err != nil {
			return 0, fmt.Errorf("epoll: key log: %w", err)
		}
		pair[i] = b
	}
	if w.secrets == nil {
		w.secrets = make(map[string][2][]byte, 4)
	}
	w.secrets[string(words[0])] = pair
	if w.also != nil {
		return w.also.Write(line)
	}
	return len(line), nil
}

// saw is told of each record that crypto/tls reads.
func (m *minder) saw(rec []byte) {
	m.flight = m.flight[:0]
	m.read12.count(rec)
	m.lookForHello(rec)
}

// wrote is told of what crypto/tls writes, which is whole records.
func (m *minder) wrote(p []byte) {
	m.flight = append(m.flight, p...)
	for len(p) >= recordHeader {
		n := min(len(p), recordHeader+int(p[3])<<8+int(p[4]))
		m.wrote12.count(p[:n])
		m.lookForHello(p[:n])
		p = p[n:]
	}
}

// lookForHello finds the server's random number, whichever side we are.
func (m *minder) lookForHello(rec []byte) {
	if m.serverRandom == nil && rec[0] == typeHandshake && len(rec) >= serverRandomOffset+32 && rec[recordHeader] == helloOfServer {
		m.serverRandom = bytes.Clone(rec[serverRandomOffset:][:32])
	}
}

var errKeys = errors.New("epoll: crypto/tls did not tell the keys of a handshake")

// keys returns the record layer behind the finished handshake.
func (m *minder) keys(state *tls.ConnectionState, client bool) (record.State, error) {
	if state.Version == tls.VersionTLS13 {
		return m.keys13(state.CipherSuite, client)
	}
	log, ok := m.secrets["CLIENT_RANDOM"]
	if !ok || m.serverRandom == nil {
		return record.State{}, errKeys
	}
	k, err := record.New12(state.CipherSuite, log[1], log[0], m.serverRandom, !client)
	k.SetSequence(m.read12.n, m.wrote12.n)
	return k, err
}

func (m *minder) keys13(suite uint16, client bool) (record.State, error) {
	read, write := m.secrets["CLIENT_TRAFFIC_SECRET_0"][1], m.secrets["SERVER_TRAFFIC_SECRET_0"][1]
	if client {
		read, write = write, read
	}
	if read == nil || write == nil {
		return record.State{}, errKeys
	}
	k, err := record.New13(suite, read, write)
	if err != nil {
		return k, err
	}
	// A server's tickets are under the key already; whatever else we wrote last is not.
	return k, k.CountWritten(record.NewCiphers(1), m.flight)
}
