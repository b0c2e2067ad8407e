package record

import (
	"fmt"
)

// State is what an established connection needs to read and write records: both directions' keys, secrets and sequence
// numbers. It is a plain value of 216 bytes; a copy that replaces the original moves the connection. Two copies in use would
// write two records under one nonce, which gives the key away. Owned by one loop.
type State struct {
	read, write direction

	suite    uint16
	flags    flags
	nothings uint8  // records since the last one with data
	skip     uint32 // bytes of a ticket still to come
}

// direction is 104 bytes.
type direction struct {
	secret   [48]byte // TLS 1.3: what the next key follows from
	key      [32]byte
	iv       [12]byte // TLS 1.2 with GCM: the salt, 4 bytes
	_        [4]byte
	sequence uint64 // of the next record
}

type flags uint8

const (
	is12 flags = 1 << iota // TLS 1.2, else 1.3
	owes                   // the peer has asked for a KeyUpdate
)

func (s *State) is(any flags) bool { return s.flags&any != 0 }

// New13 returns the state of a TLS 1.3 connection at the beginning of the application traffic secrets, sequence numbers
// 0. readSecret is the peer's application traffic secret (CLIENT_TRAFFIC_SECRET_0 on a server), writeSecret our own. A
// server that has sent tickets goes on with CountWritten. It fails for a suite other than AES-128-GCM, AES-256-GCM and CHACHA20-POLY1305,
// and for secrets of a wrong length.
func New13(suite uint16, readSecret, writeSecret []byte) (State, error) {
	u := suiteOf(suite)
	if u == nil || u.is12 {
		return State{}, fmt.Errorf("tls: suite %#04x is not one of TLS 1.3 that this gateway can go on with", suite)
	}
	s := State{suite: suite}
	for _, d := range []struct {
		to     *direction
		secret []byte
	}{{&s.read, readSecret}, {&s.write, writeSecret}} {
		if len(d.secret) != u.hashLen() {
			return State{}, fmt.Errorf("tls: a traffic secret of %d bytes, suite %#04x has %d", len(d.secret), suite, u.hashLen())
		}
		d.to.keyFrom(u, d.secret)
	}
	return s, nil
}

// New12 returns the state of a TLS 1.2 connection after both Finished messages, sequence numbers 1. server says which
// side we are. It fails for a suite that is not in Suites12, and for secrets of a wrong length: master has 48 bytes, the
// randoms have 32 each.
func New12(suite uint16, master, clientRandom, serverRandom []byte, server bool) (State, error) {
	u := suiteOf(suite)
	if u == nil || !u.is12 {
		return State{}, fmt.Errorf("tls: suite %#04x is not one of TLS 1.2 that this gateway can go on with", suite)
	}
	if len(master) != 48 || len(clientRandom) != 32 || len(serverRandom) != 32 {
		return State{}, fmt.Errorf("tls: a master secret of %d bytes with randoms of %d and %d, must be 48, 32 and 32",
			len(master), len(clientRandom), len(serverRandom))
	}
	s := State{suite: suite, flags: is12}
	client, ours := &s.read, &s.write
	if !server {
		client, ours = ours, client
	}
	u.keys12(client, ours, master, clientRandom, serverRandom)
	s.SetSequence(1, 1)
	return s, nil
}

// SetSequence sets the sequence numbers of the next record to read and the next to write.
func (s *State) SetSequence(read, write uint64) {
	s.read.sequence, s.write.sequence = read, write
}

// CountWritten sets the write sequence to what the handshake has left it at: written are the records that we have sent
// during it, all or the last of them; those at the end that are under the key of s (a server's session tickets) are
// counted. They are deciphered where they are, so what they were is lost. TLS 1.3 only; under 1.2 nothing is written between Finished and the first data.
func (s *State) CountWritten(written []byte) error {
	reader := State{read: s.write, suite: s.suite, flags: s.flags}
	k := new(Ciphers) // without a seat: nobody needs the key again here
	aead := k.fresh(s.suite, &s.write)
	for len(written) > 0 {
		n, err := Whole(written)
		if err != nil {
			return err
		}
		if n == 0 {
			return errCut
		}
		if _, err := reader.decrypt(aead, k, written[:n]); err == nil {
			reader.read.sequence++
		}
		written = written[n:]
	}
	s.write.sequence = reader.read.sequence
	return nil
}
