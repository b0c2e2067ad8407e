package record

import (
	"crypto/aes"
	"crypto/cipher"

	"golang.org/x/crypto/chacha20poly1305"
)

// Ciphers holds the expanded keys of those connections of a loop that talked last. It has a fixed number of seats, in
// rows of eight; a connection's number names its row, and there the one that was silent longest makes room. A map with a list
// would choose better by a little, and cost a hash and four links at each record. Owned by one loop.
type Ciphers struct {
	rows [][waysPerRow]seat
	tick uint64 // counts look-ups; the clock of the seats

	nonce [12]byte // lives here, for what goes through cipher.AEAD escapes
	extra [13]byte // likewise: what TLS 1.2 authenticates beside the text
}

const waysPerRow = 8

// seat is 128 bytes.
type seat struct {
	id          uint32
	tick        uint64 // when it was last used; 0: free
	read, write expanded
}

// expanded is a key with what follows from it.
type expanded struct {
	aead  cipher.AEAD
	key   [32]byte
	suite uint16
}

// NewCiphers returns a cache for so many connections that talk at the same time, rounded up to whole rows of 8. Empty it takes 128 bytes a
// connection; full 2.7 kB with AES and 0.2 kB with CHACHA20-POLY1305.
func NewCiphers(connections int) *Ciphers {
	return &Ciphers{rows: make([][waysPerRow]seat, max(1, (connections+waysPerRow-1)/waysPerRow))}
}

// Forget frees what is held for the connection, which has ended or moved away. To call it is good manners, not a
// condition: a number that is used again does not find the keys of the one before.
func (k *Ciphers) Forget(id uint32) {
	row := k.row(id)
	for i := range row {
		if row[i].id == id {
			row[i] = seat{}
		}
	}
}

func (k *Ciphers) row(id uint32) *[waysPerRow]seat { return &k.rows[id%uint32(len(k.rows))] }

// seat returns the connection's seat, or the one that was not used for longest.
func (k *Ciphers) seat(id uint32) *seat {
	k.tick++
	row := k.row(id)
	oldest := &row[0]
	for i := range row {
		at := &row[i]
		if at.id == id && at.tick != 0 {
			at.tick = k.tick
			return at
		}
		if at.tick < oldest.tick {
			oldest = at
		}
	}
	*oldest = seat{id: id, tick: k.tick}
	return oldest
}

func (k *Ciphers) reading(id uint32, s *State) cipher.AEAD {
	return k.seat(id).read.under(k, s.suite, &s.read)
}

func (k *Ciphers) writing(id uint32, s *State) cipher.AEAD {
	return k.seat(id).write.under(k, s.suite, &s.write)
}

// under returns the cipher of d's key, expanded now if it is another than the last.
func (x *expanded) under(k *Ciphers, suite uint16, d *direction) cipher.AEAD {
	if x.aead == nil || x.key != d.key || x.suite != suite {
		*x = expanded{aead: k.fresh(suite, d), key: d.key, suite: suite}
	}
	return x.aead
}

// fresh expands a key.
func (k *Ciphers) fresh(suite uint16, d *direction) cipher.AEAD {
	u := suiteOf(suite)
	if u.chacha {
		aead, err := chacha20poly1305.New(d.key[:])
		must(err)
		return aead
	}
	block, err := aes.NewCipher(d.key[:u.keyLen])
	must(err)
	aead, err := cipher.NewGCM(block)
	must(err)
	return aead
}

// must stops at errors that only a key or a cipher of a wrong size can cause.
func must(err error) {
	if err != nil {
		panic("record: " + err.Error())
	}
}
