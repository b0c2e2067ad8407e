package epoll

import "github.com/tidegate/tidegate/epoll/record"

// How ciphertext goes out. The batch is plaintext until the flush, so that many small messages of a tick are one record.
// It is sealed in pieces as the socket takes them: what the socket refuses is at most one piece of ciphertext, and the
// rest of the batch stays as it was.

// sealBytesMax is the longest piece: three whole records, whose ciphertext fits into memory of 64 KiB.
const sealBytesMax = 3 * 16 << 10

// sealSpare is room for what has no plaintext of ours: a KeyUpdate and close_notify.
const sealSpare = 128

// writeSealed sends what the socket takes, and tells whether that was all.
func (l *Loop) writeSealed(c *Conn) (all bool) {
	s := l.secure(c)
	for {
		if !l.writeOut(c, &s.out) {
			if c.batch != 0 {
				l.bufs.at(c.batch).compact()
			}
			return false
		}
		if !l.seal(c, s) {
			return true
		}
	}
}

// seal makes the next piece of ciphertext, and tells whether there was anything to seal.
func (l *Loop) seal(c *Conn, s *secure) bool {
	if s.shake != nil || s.bye {
		return false
	}
	n := 0
	if c.batch != 0 {
		n = min(l.bufs.at(c.batch).len(), sealBytesMax)
	}
	owes, last := s.state.Owes(), n == 0 && c.is(isFinishing)
	if n == 0 {
		l.bufs.drop(&c.batch)
		if !owes && !last {
			return false
		}
	}
	s.out = l.bufs.lend(kindBatch, record.SealedLen(n)+sealSpare)
	o := l.bufs.at(s.out)
	var plain []byte
	if n > 0 {
		b := l.bufs.at(c.batch)
		plain = b.bytes()[:n]
		b.off += n
	}
	dst := s.state.Seal(l.ciphers, c.slot, o.mem[:0], plain)
	if last {
		dst = s.state.AppendCloseNotify(l.ciphers, c.slot, dst)
		s.bye = true
	}
	if cap(dst) > len(o.mem) {
		l.bufs.replace(o, dst)
	}
	o.end = len(dst)
	return true
}

// dropSecure frees the TLS state of a connection.
func (l *Loop) dropSecure(c *Conn) {
	s := l.secure(c)
	l.ciphers.Forget(c.slot)
	l.bufs.drop(&s.raw)
	l.bufs.drop(&s.out)
	*l.secures.At(c.slot) = nil
}
