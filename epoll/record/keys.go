package record

import (
	"crypto/hkdf"
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
func (d *direction) keyFrom(u *suite, secret []byte) error {
	key, err := expandLabel(u, secret, "key", int(u.keyLen))
	if err != nil {
		return err
	}
	iv, err := expandLabel(u, secret, "iv", len(d.iv))
	if err != nil {
		return err
	}
	*d = direction{}
	copy(d.secret[:], secret)
	copy(d.key[:], key)
	copy(d.iv[:], iv)
	return nil
}

// update goes on to the next traffic secret, RFC 8446, 7.2.
func (d *direction) update(u *suite) error {
	next, err := expandLabel(u, d.secret[:u.hashLen()], "traffic upd", u.hashLen())
	if err != nil {
		return err
	}
	return d.keyFrom(u, next)
}

// expandLabel is HKDF-Expand-Label with an empty context, RFC 8446, 7.1.
func expandLabel(u *suite, secret []byte, label string, n int) ([]byte, error) {
	info := make([]byte, 0, 32)
	info = append(info, byte(n>>8), byte(n), byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	info = append(info, 0)
	return hkdf.Expand(u.hash(), secret, string(info), n)
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
