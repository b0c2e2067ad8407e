package gateway

import (
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/ws"
)

// deflate is what a loop needs for compressed messages, shared by all its devices. It is empty until the first one comes.
// Owned by one loop.
type deflate struct {
	in      ws.Inflater
	out     ws.Deflater
	message []byte // the last one inflated; at most limits.packet_bytes_max

	long  ws.Inflating // the message that takes more than a step
	of    epoll.Handle // whose it is; 0: there is none
	whole []byte       // the last one; also at most limits.packet_bytes_max
}

// A message that is short both ways is inflated at once. Any other one has its turn at the loop's one ws.Inflating, in steps of so many units: of a
// few bytes that inflate to a megabyte, 5 ms of work, and of a megabyte of nothing but tables of DEFLATE, 0.2 s, everybody else sees
// no more in a tick than of other work.
const (
	shortBytesMax = 1 << 10  // compressed
	shortInflated = 32 << 10 // 0.2 ms
	inflateUnits  = 256
	workPerUnit   = 32
)

// mayDeflate is ws.Policy.Deflate. MQTT goes on as a stream, not message by message, and is short already.
func (s *shard) mayDeflate(path []byte, _ string) bool {
	if !s.cfg.WebSocket.Compression {
		return false
	}
	to := wireOfPath(path, s.cfg.Diagnostics)
	return to == wirePlain || to == wireEcho
}

// onWhole hands a whole message on, inflated if it came compressed; false: the connection is closed, or
// payload is to be offered again as it is, since the uplink has no room or its turn is over. again: it was offered before.
func (s *shard) onWhole(c *epoll.Conn, d *device, op ws.Op, payload []byte, again bool) bool {
	if d.wire != wireEcho && s.full() { // asked first: what waits is inflated once
		s.pausePublisher(c, d)
		c.PauseRead()
		return false
	}
	if d.reader.Compressed() {
		out, code, done := s.inflate(c, d, op, payload, again)
		if !done {
			s.waitsTurn(c, d)
			return false
		}
		if code != 0 {
			s.close(c, d, reasonOfWS(code))
			return false
		}
		payload = out
	}
	return s.onMessage(c, d, op, payload)
}

// inflate inflates a message, or goes on with it; not done: its turn is over.
func (s *shard) inflate(c *epoll.Conn, d *device, op ws.Op, payload []byte, again bool) (out []byte, code ws.CloseCode, done bool) {
	x, bytesMax := &s.deflate, s.frameLimits(c, d).MessageBytesMax
	if !s.mayWork(c) {
		return nil, 0, false
	}
	if !again && len(payload) <= shortBytesMax {
		out, code = x.in.Append(x.message[:0], op, payload, min(bytesMax, shortInflated))
		x.message = out
		s.work += workPerUnit*len(payload) + len(out) // as in steps
		if code != ws.TooBig || bytesMax <= shortInflated {
			return out, code, true
		}
	}
	if x.of != c.Handle() {
		if other := s.loop.Conn(x.of); x.of != 0 && other != nil && !other.Closing() {
			return nil, 0, false
		}
		x.of = c.Handle()
		x.long.Begin(x.whole[:0], op, bytesMax)
	}
	for !done {
		var used int
		out, code, used, done = x.long.Step(payload, inflateUnits)
		if s.work += workPerUnit * used; s.work >= s.share() {
			break
		}
	}
	if done {
		x.whole = out
		x.end()
	}
	return out, code, done
}

// end makes room for the next long message.
func (x *deflate) end() {
	x.long.End()
	x.of = 0
}

// appendMessage appends a message to a device as one frame, compressed if they have agreed on that and it is worth it.
func (s *shard) appendMessage(d *device, dst []byte, op ws.Op, payload []byte) []byte {
	if d.reader.Deflates() {
		return s.deflate.out.AppendFrame(dst, op, payload)
	}
	return ws.AppendFrame(dst, op, payload)
}
