package epoll

import (
	"errors"

	"github.com/tidegate/tidegate/epoll/record"
)

// How ciphertext comes in. It is read into a buffer of the loop's own and decrypted there in place; the plaintext of all
// records of a read moves together, so that the handler is called once. What is less than a record waits, as ciphertext,
// in a buffer that exists until the rest has come. The tail is plaintext.
//
//	cbuf: | room for a short tail | part of a record from before | what recv brought |
//	                              ^ plaintext begins here, always shorter than the ciphertext it came from

// Opening a record costs as much as copying a thousand bytes, whatever is in it. So a connection is read a whole ReadBytes at a time only once
// the records of its last read were of recordUsual bytes on average; else smallRead. A peer that sends each byte in a record of its own takes
// 0.1 ms of a tick, not 1.5.
const (
	recordUsual = 128
	smallRead   = 4 << 10
)

// recordBytesMax is the longest record there is.
const recordBytesMax = recordHeader + record.PayloadMax

// handledMax is how many records of a read may carry no data, such as KeyUpdates: 3 to 6 µs each with AES, when a record of data takes 0.15. Who has more of them is closed.
const handledMax = 32

// errHandled is for a peer that has more.
var errHandled = &record.Error{Alert: record.AlertUnexpectedMessage}

// readSealed reads a connection with TLS once.
func (l *Loop) readSealed(c *Conn) {
	s := l.secure(c)
	if s.shake != nil {
		l.readShaking(c)
		return
	}
	at := tailShort
	if s.raw != 0 {
		at += copy(l.cbuf[tailShort:], l.bufs.at(s.raw).bytes())
	}
	room := l.o.ReadBytes
	if !s.large {
		room = min(room, smallRead)
	}
	n, errno := recv(c.fd, l.cbuf[at:at+room])
	if !l.received(c, n, errno) {
		return
	}
	plain, records, err := l.open(c, s, l.cbuf[tailShort:at+n])
	if n >= smallRead/2 {
		s.large = records <= n/recordUsual
	}
	if len(plain) > 0 {
		l.showPlain(c, plain)
	}
	mangle(l.cbuf[tailShort : at+n])
	if err != nil && !c.Closing() {
		l.failRecord(c, err)
	}
	l.endIfOver(c)
}

// showPlain shows plaintext, which is at tailShort of cbuf, behind the tail.
func (l *Loop) showPlain(c *Conn, plain []byte) {
	if c.tail == 0 {
		l.show(c, plain, false)
		return
	}
	b := l.bufs.at(c.tail)
	if b.len() <= tailShort {
		p := l.cbuf[tailShort-b.len() : tailShort+len(plain)]
		l.stats.TailCopyBytes += uint64(copy(p, b.bytes()))
		l.show(c, p, false)
		return
	}
	l.makeRoom(b, len(plain))
	b.end += copy(b.mem[b.end:], plain)
	l.show(c, b.bytes(), true)
}

// open decrypts the whole records in p and returns their plaintext, at the beginning of p. The rest is kept.
func (l *Loop) open(c *Conn, s *secure, p []byte) (plain []byte, records int, err error) {
	var (
		n, end  int
		handled int
		data    []byte
		kind    record.Kind
		rest    = p
	)
	for !s.over {
		if n, err = record.Whole(rest); err != nil || n == 0 {
			break
		}
		if data, kind, err = s.state.Open(l.ciphers, c.slot, rest[:n]); err != nil {
			break
		}
		rest = rest[n:]
		records++
		switch kind {
		case record.Data:
			end += copy(p[end:], data)
		case record.CloseNotify:
			s.over = true
		default:
			handled++
		}
		if handled > handledMax {
			err = errHandled
			break
		}
	}
	if err != nil {
		s.over = true // also if it moves before it can be told
	}
	if s.over {
		rest = nil
	}
	l.keepRaw(s, rest)
	if s.state.Owes() {
		l.soil(c)
	}
	return p[:end], records, err
}

// keepRaw keeps the part of a record until the rest comes.
func (l *Loop) keepRaw(s *secure, rest []byte) {
	if len(rest) == 0 {
		l.bufs.drop(&s.raw)
		return
	}
	if s.raw == 0 {
		s.raw = l.bufs.lend(kindTail, len(rest))
	}
	b := l.bufs.at(s.raw)
	if len(b.mem) < len(rest) {
		l.bufs.replace(b, l.bufs.get(len(rest)))
	}
	b.off, b.end = 0, copy(b.mem, rest)
}

// openEarly opens what came with the end of the handshake into the tail, and tells whether the connection lives on.
func (l *Loop) openEarly(c *Conn, p []byte) bool {
	plain, _, err := l.open(c, l.secure(c), p)
	if err != nil {
		l.failRecord(c, err)
		return false
	}
	if len(plain) > 0 {
		l.setTail(c, plain)
	}
	return true
}

// failRecord ends the connection for a record that is none, after the alert; or because the peer has sent one.
func (l *Loop) failRecord(c *Conn, err error) {
	var bad *record.Error
	if errors.As(err, &bad) && bad.Received {
		l.end(c, CausePeerReset)
		return
	}
	l.stats.BadRecords++
	if bad != nil {
		l.queue(c, l.secure(c).state.AppendAlert(l.ciphers, c.slot, nil, bad.Alert))
	}
	l.fail(c, CauseBadRecord)
}

// endIfOver ends a connection whose peer has said close_notify, which is the FIN of TLS: seen after the bytes before it
// were shown, and not during a pause.
func (l *Loop) endIfOver(c *Conn) {
	if !c.Closing() && !c.is(isPaused) && l.secure(c).over {
		l.end(c, CausePeerClosed)
	}
}
