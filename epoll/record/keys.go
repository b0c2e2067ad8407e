package record

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
)

// suite is what a cipher suite consists of.
type suite struct {
	id     uint16
	is12   bool
	chacha bool
	sha384 bool
	keyLen uint8
}

// explicit tells whether records carry 8 bytes of their nonce: GCM in TLS 1.2, RFC 5288.
func (u *suite) explicit() bool { return u.is12 && !u.chacha }

func (u *suite) hash() func() hash.Hash {
	if u.sha384 {
		return sha512.New384
	}
	return sha256.New
}

func (u *suite) hashLen() int {
	if u.sha384 {
		return sha512.Size384
	}
	return sha256.Size
}

var suites = [...]suite{
	{id: 0x1301, keyLen: 16},
	{id: 0x1302, keyLen: 32, sha384: true},
	{id: 0x1303, keyLen: 32, chacha: true},
	{id: 0xc02b, keyLen: 16, is12: true},
	{id: 0xc02f, keyLen: 16, is12: true},
	{id: 0xc02c, keyLen: 32, is12: true, sha384: true},
	{id: 0xc030, keyLen: 32, is12: true, sha384: true},
	{id: 0xcca9, keyLen: 32, is12: true, chacha: true},
	{id: 0xcca8, keyLen: 32, is12: true, chacha: true},
}

func suiteOf(id uint16) *suite {
	for i := range suites {
		if suites[i].id == id {
			return &suites[i]
		}
	}
	return nil
}

// Suites12 returns the suites of TLS 1.2 that New12 knows, best first, as tls.Config.CipherSuites wants them. A handshake
// must not offer others.
func Suites12() []uint16 {
	var list []uint16
	for i := range suites {
		if suites[i].is12 {
			list = append(list, suites[i].id)
		}
	}
	return list
}

// keyFrom begins a traffic secret of TLS 1.3, RFC 8446, 7.3.
func (d *direction) keyFrom(u *suite, secret []byte) {
	mac := hmac.New(u.hash(), secret)
	*d = direction{}
	copy(d.secret[:], secret)
	expandLabel(d.key[:u.keyLen], mac, "key")
	expandLabel(d.iv[:], mac, "iv")
}

// update goes on to the next traffic secret, RFC 8446, 7.2.
func (d *direction) update(u *suite) {
	var next [sha512.Size384]byte
	secret := next[:u.hashLen()]
	expandLabel(secret, hmac.New(u.hash(), d.secret[:u.hashLen()]), "traffic upd")
	d.keyFrom(u, secret)
}

// expandLabel is HKDF-Expand-Label with an empty context, RFC 8446, 7.1, for no more than one sum, which all that we need is: RFC 5869, 2.3. One
// mac serves a secret for all its labels, where crypto/hkdf would make it anew for each.
func expandLabel(dst []byte, mac hash.Hash, label string) {
	info := make([]byte, 0, 32)
	info = append(info, byte(len(dst)>>8), byte(len(dst)), byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	info = append(info, 0, 1)
	mac.Reset()
	mac.Write(info)
	copy(dst, mac.Sum(nil))
}

// keys12 cuts the key block of TLS 1.2, RFC 5246, 6.3: keys, then what nonces begin with. AEADs have no MAC keys.
func (u *suite) keys12(client, server *direction, master, clientRandom, serverRandom []byte) {
	ivLen := 12
	if u.explicit() {
		ivLen = 4
	}
	seed := append([]byte("key expansion"), serverRandom...)
	block := prf12(u.hash(), master, append(seed, clientRandom...), 2*(int(u.keyLen)+ivLen))
	for _, part := range [][]byte{client.key[:u.keyLen], server.key[:u.keyLen], client.iv[:ivLen], server.iv[:ivLen]} {
		block = block[copy(part, block):]
	}
}

// prf12 is P_hash of RFC 5246, 5.
func prf12(h func() hash.Hash, secret, seed []byte, n int) []byte {
	mac := hmac.New(h, secret)
	sum := func(parts ...[]byte) []byte {
		mac.Reset()
		for _, p := range parts {
			mac.Write(p)
		}
		return mac.Sum(nil)
	}
	var out []byte
	for a := sum(seed); len(out) < n; a = sum(a) {
		out = append(out, sum(a, seed)...)
	}
	return out[:n]
}
