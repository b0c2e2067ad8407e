package main

import (
	"encoding/binary"
	"net/http"
	"strconv"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/ws"
)

// frameLimits are what a device takes from the server.
var frameLimits = ws.Limits{MessageBytesMax: packetBytesMax, FragmentsMax: 1 << 16}

// mask is a new masking key (RFC 6455 §5.3), by the run's seed.
func (f *fleet) mask() (m [4]byte) {
	binary.LittleEndian.PutUint32(m[:], f.rng.Uint32())
	return m
}

// nonce is the device's handshake key: the same at every attempt, so that it need not be kept.
func (f *fleet) nonce(i uint32) (key [16]byte) {
	binary.LittleEndian.PutUint64(key[:], f.p.Seed)
	binary.LittleEndian.PutUint32(key[8:], f.number(i))
	return key
}

// upgrade sends the handshake.
func (f *fleet) upgrade(c *epoll.Conn, i uint32, d *device, t *target) {
	path, subprotocol := t.Path, "mqtt"
	if t.Kind == kindPlain {
		f.id = appendID(f.id[:0], f.p.Prefix, f.number(i))
		path, subprotocol = t.Path+string(f.id), ""
	}
	d.phase = upgrading
	c.End(ws.AppendHandshake(c.Begin(), t.Host, path, subprotocol, f.nonce(i)))
}

// upgraded reads the server's answer, and any frames behind it.
func (f *fleet) upgraded(c *epoll.Conn, i uint32, d *device, p []byte) (rest []byte) {
	n, subprotocol, status, err := ws.ParseHandshake(p, f.nonce(i))
	plain := f.p.Targets[d.target].Kind == kindPlain
	switch {
	case err != nil:
		f.fail(c, d, err.Error())
		return nil
	case n == 0:
		return p
	case status != http.StatusSwitchingProtocols:
		f.fail(c, d, "the server answered HTTP "+strconv.Itoa(status))
		return nil
	case plain != (len(subprotocol) == 0):
		f.fail(c, d, "the server chose subprotocol "+strconv.Quote(string(subprotocol)))
		return nil
	case plain:
		f.becomeLive(c, i, d)
	default:
		f.greet(c, i, d)
	}
	return f.frames(c, i, d, p[n:])
}

// frames takes the frames in p apart. MQTT packets may span frames and share them, and a plain device's message may come
// in pieces, so payload whose rest is still to come has to wait out of its frame:
//
//	before   | d.held bytes of payload | frames …                  |
//	during   … | payload, moved together |  (read)  | frames …     |
//	after                     … | d.held bytes of payload | frames |
//
// Everything happens inside p; the loop keeps what is returned.
func (f *fleet) frames(c *epoll.Conn, i uint32, d *device, p []byte) (rest []byte) {
	plain := f.p.Targets[d.target].Kind == kindPlain
	start, end, read := 0, int(d.held), int(d.held)
	for !c.Closing() && !c.Paused() {
		ch, n, code := d.reader.Next(p[read:], &frameLimits)
		if code != 0 {
			f.closeFrame(c, code)
			f.fail(c, d, "the server sent a bad frame: "+code.String())
			return nil
		}
		if n == 0 {
			break
		}
		read += n
		if ch.Op.IsControl() {
			f.control(c, d, &ch)
			continue
		}
		end += copy(p[end:], ch.Payload)
		switch {
		case !plain:
			start += f.packets(c, i, d, p[start:end])
		case ch.Last:
			f.command(i, d, p[start:end])
			start = end
		}
		if start == end {
			start, end = 0, 0
		}
	}
	if c.Closing() {
		return nil
	}
	held := copy(p[read-(end-start):read], p[start:end])
	d.held = uint32(held)
	return p[read-held:]
}

// control answers a control frame.
func (f *fleet) control(c *epoll.Conn, d *device, ch *ws.Chunk) {
	switch ch.Op {
	case ws.OpPing:
		d.sentSec = f.loop.NowSec()
		c.End(ws.AppendMasked(c.Begin(), ws.OpPong, ch.Payload, f.mask()))
	case ws.OpClose:
		code, reason, bad := ws.ParseClose(ch.Payload)
		text := "the server closed: " + code.String()
		if bad != 0 {
			text = "the server sent a bad close frame"
		} else if len(reason) > 0 {
			text += " (" + string(reason) + ")"
		}
		f.closeFrame(c, ws.CloseNormal)
		f.fail(c, d, text)
	}
}

// closeFrame sends a close frame.
func (f *fleet) closeFrame(c *epoll.Conn, code ws.CloseCode) {
	body := ws.AppendClose(f.packet[:0], code, "")
	c.End(ws.AppendMasked(c.Begin(), ws.OpClose, body[2:], f.mask()))
}
