package bus

import (
	"net"
	"strconv"
	"sync"
	"time"
)

// The uplink's way past nats.go. nats.go dials, logs in, pings, subscribes and reads; messages of devices go to its socket as
// HPUB commands that we write between its writes, a batch at a time. By its PublishMsg a message costs 0.79 µs of CPU and three
// allocations, client and embedded server together; this way 0.60 µs and one, the server's (BenchmarkPublisher/pipe, medians of
// four alternating runs; over loopback 0.68 and 0.52 µs). Each write of nats.go ends at the end of a command, and so does each
// of ours, so a lock around Write keeps them apart. Under TLS the socket is not ours to write to; there PublishMsg is the way.

// socket is the connection under nats.go. Write is safe from any goroutine.
type socket struct {
	net.Conn
	mu    sync.Mutex
	timed bool // writes get a deadline; one in the process can only wait for ourselves
}

// Write writes all of p, or breaks the connection after writeTimeout.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timed {
		if err := s.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return 0, err
		}
	}
	return s.Conn.Write(p)
}

// SetWriteDeadline does nothing: Write sets its own, and nats.go would clear that of a write of ours.
func (s *socket) SetWriteDeadline(time.Time) error { return nil }

// frameBytesMax is how many bytes of commands gather before they are written.
const frameBytesMax = 32 << 10

// appendFrame appends the message that encode made, as a NATS command.
func (e *encoder) appendFrame(dst []byte) []byte {
	m := &e.msg
	dst = append(append(dst, "HPUB "...), m.Subject...)
	dst = append(dst, ' ')
	if m.Reply != "" {
		dst = append(append(dst, m.Reply...), ' ')
	}
	dst = strconv.AppendInt(dst, int64(e.headBytes), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(e.headBytes+len(m.Data)), 10)
	dst = append(dst, "\r\nNATS/1.0\r\n"...)
	if e.plain {
		dst = appendLine(dst, headerTG, e.one[0])
	} else {
		for name, values := range m.Header {
			for _, v := range values {
				dst = appendLine(dst, name, v)
			}
		}
	}
	if e.id != "" {
		dst = appendLine(dst, headerMsgID, e.id)
	}
	if e.expect != "" {
		dst = appendLine(dst, headerExpectStream, e.expect)
	}
	dst = append(append(dst, "\r\n"...), m.Data...)
	return append(dst, "\r\n"...)
}

func appendLine(dst []byte, name, value string) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}
