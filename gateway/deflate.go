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
}

// inflatedBytesPerWork has inflating count as work in the turn of a connection, and so does each byte that is inflated,
// since a few bytes can ask for much of it: a turn ends after half a megabyte, which takes 3 ms, or after 32 kB of
// compressed messages, which take 7 ms if they are made of nothing but tables of DEFLATE and 0.3 ms as they usually are. A
// message is not divided: the worst one of a megabyte takes 0.2 s.
const inflatedBytesPerWork = 16

// mayDeflate is ws.Policy.Deflate. MQTT goes on as a stream, not message by message, and is short already.
func (s *shard) mayDeflate(path []byte, _ string) bool {
	if !s.cfg.WebSocket.Compression {
		return false
	}
	to := wireOfPath(path, s.cfg.Diagnostics)
	return to == wirePlain || to == wireEcho
}

// onWhole hands a whole message on, inflated if it came compressed; false: the connection is closed, or the
// uplink has no room and payload is to be offered again as it is.
func (s *shard) onWhole(c *epoll.Conn, d *device, op ws.Op, payload []byte) bool {
	if d.wire != wireEcho && s.full() { // asked first: what waits is inflated once
		s.pausePublisher(c, d)
		c.PauseRead()
		return false
	}
	if d.reader.Compressed() {
		out, code := s.deflate.in.Append(s.deflate.message[:0], op, payload, s.frameLimits(c, d).MessageBytesMax)
		s.deflate.message = out
		s.work += len(payload) + len(out)/inflatedBytesPerWork
		if code != 0 {
			s.close(c, d, reasonOfWS(code))
			return false
		}
		payload = out
	}
	return s.onMessage(c, d, op, payload)
}

// appendMessage appends a message to a device as one frame, compressed if they have agreed on that and it is worth it.
func (s *shard) appendMessage(d *device, dst []byte, op ws.Op, payload []byte) []byte {
	if d.reader.Deflates() {
		return s.deflate.out.AppendFrame(dst, op, payload)
	}
	return ws.AppendFrame(dst, op, payload)
}
