package chain

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/tidegate/tidegate/gateway/auth"
)

const keyBytes = 32

// digest stands for all that a provider's answer may depend on. Who reads our memory cannot try passwords against it without the key, which
// is in that memory, too: it keeps them out of what is written or sent elsewhere.
type digest [sha256.Size]byte

func newKey() (k [keyBytes]byte) {
	_, _ = rand.Read(k[:]) // it never fails
	return k
}

// digestOf leaves out the port of the device, which is another one each time.
func digestOf(key []byte, r *auth.Request) (d digest) {
	h := hmac.New(sha256.New, key)
	add := func(p []byte) {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(p)))
		h.Write(n[:])
		h.Write(p)
	}
	addr := r.Addr.Addr().As16()
	for _, text := range []string{r.Listener, r.Protocol, r.ClientID, r.Username, r.Tenant} {
		add([]byte(text))
	}
	add(r.Password)
	add(addr[:])
	add([]byte{flag(r.HasUsername), flag(r.HasPassword), flag(r.Peer != nil)})
	if p := r.Peer; p != nil {
		for _, text := range append([]string{p.ServerName, p.Protocol, p.CN, p.Fingerprint}, p.Names...) {
			add([]byte(text))
		}
	}
	h.Sum(d[:0])
	return d
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// cache has room for as many answers that let in as for others, so that guesses do not push out those. When it is full, any answer makes room.
type cache struct {
	max  int
	kept [2]map[digest]kept // others, those that let in
}

type kept struct {
	answer auth.Answer
	until  time.Time
}

func newCache(size int) cache {
	return cache{max: size, kept: [2]map[digest]kept{{}, {}}}
}

func (c *cache) get(key digest, now time.Time) (auth.Answer, bool) {
	for i := range c.kept {
		k, ok := c.kept[i][key]
		switch {
		case !ok:
		case now.Before(k.until):
			return k.answer, true
		default:
			delete(c.kept[i], key)
		}
	}
	return auth.Answer{}, false
}

func (c *cache) put(key digest, a auth.Answer, now time.Time, d time.Duration) {
	if d <= 0 || c.max == 0 {
		return
	}
	into := c.kept[flag(a.Verdict == auth.Allow)]
	if len(into) >= c.max {
		for other := range into {
			delete(into, other)
			break
		}
	}
	into[key] = kept{a, now.Add(d)}
}
