package gateway

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/ws"
	"github.com/tidegate/tidegate/session"
)

// Paths of a WebSocket listener.
const (
	pathMQTT  = "/mqtt"
	pathPlain = "/ws/" // + client id
	pathEcho  = "/echo"
)

// Subprotocols.
const (
	protocolMQTT   = "mqtt" // [MQTT-6.0.0-4]
	protocolMQTT31 = "mqttv3.1"
	protocolJSON   = "tidegate.json.v1"
	protocolCBOR   = "tidegate.bin.v1"
)

// acceptUpgrade is ws.Policy.Accept.
func (s *shard) acceptUpgrade(path []byte, offered []string) (subprotocol string, status int) {
	w := wireOfPath(path, s.cfg.Diagnostics)
	if w >= wirePlain && s.cfg.Auth.Anonymous == anonymousNobody && s.gw.tokens == nil && !s.gw.doors.chained {
		return "", http.StatusUnauthorized // it has no way to log in
	}
	switch w {
	case wireFrameMQTT:
		for _, o := range []string{protocolMQTT, protocolMQTT31} { // the former for whoever offers both
			if slices.Contains(offered, o) {
				return o, 0
			}
		}
		return "", http.StatusBadRequest // a client must offer it [MQTT-6.0.0-3]
	case wirePlain:
		if _, ok := plainID(path); !ok {
			return "", http.StatusBadRequest
		}
		for _, o := range offered {
			if o == protocolJSON || o == protocolCBOR {
				return o, 0
			}
		}
		if s.gw.tokens != nil {
			return "", http.StatusUnauthorized // frames alone have no place for a token
		}
		return "", 0
	case wireEcho:
		if s.cfg.Auth.Anonymous == anonymousNobody {
			return "", http.StatusUnauthorized
		}
		return "", 0
	}
	return "", http.StatusNotFound
}

func wireOfPath(path []byte, diagnostics bool) wire {
	switch {
	case string(path) == pathMQTT || string(path) == "/":
		return wireFrameMQTT
	case bytes.HasPrefix(path, []byte(pathPlain)):
		return wirePlain
	case string(path) == pathEcho && diagnostics:
		return wireEcho
	}
	return wireUnknown
}

// plainID is the client id in a plain device's path. It becomes a level of the device's topics, so that it must be one.
func plainID(path []byte) (id string, ok bool) {
	id, err := url.PathUnescape(string(path[len(pathPlain):]))
	if err != nil || id == "" || len(id) > 256 || !utf8.ValidString(id) || strings.ContainsAny(id, "/+#") || id[0] == '$' {
		return "", false
	}
	for _, r := range id {
		if r < ' ' || r == 0x7F {
			return "", false
		}
	}
	return id, true
}

// onUpgrade answers the WebSocket handshake.
func (s *shard) onUpgrade(c *epoll.Conn, d *device, p []byte) (rest []byte) {
	before := c.Begin()
	out, req, n, status := s.upgrade.Upgrade(before, p)
	c.End(out)
	if status == http.StatusSwitchingProtocols && !s.onForwarded(c, d, &req) {
		c.End(c.Begin()[:len(before)]) // it is answered otherwise
		return s.turnAwayHTTP(c, d, p)
	}
	if status == 0 {
		return p
	}
	if status != http.StatusSwitchingProtocols {
		s.close(c, d, reasonHandshake)
		return nil
	}
	s.count.upgrades++
	if req.Deflate {
		d.reader.AcceptDeflate()
	}
	d.wire = wireOfPath(req.Path, s.cfg.Diagnostics)
	if d.wire >= wirePlain && s.cfg.Auth.Anonymous == anonymousNobody && s.gw.tokens == nil && s.doorOf(c).chain == nil { // here it has no way to log in
		s.count.authentications[authMissing]++
		s.turnDown(c, d, refusedAnonymous)
		return nil
	}
	switch d.wire {
	case wireEcho:
		if door := s.doorOf(c); door.chain != nil && !door.anonymous {
			s.close(c, d, reasonNotAuthorized)
			return nil
		}
		d.state = stateLive
		s.count.live[liveEcho]++
	case wirePlain:
		id, _ := plainID(req.Path)
		d.extra().clientID = []byte(id)
		switch req.Subprotocol {
		case protocolJSON:
			d.wire, d.more.talk = wireJSON, &talk{}
		case protocolCBOR:
			d.wire, d.more.talk = wireCBOR, &talk{}
		}
		if s.gw.tenants != nil {
			if r := s.assignTenant(c, d); r != refusedNot {
				s.turnDown(c, d, r)
				return nil
			}
		}
		if s.goesHome(c, d, d.more.clientID) {
			return p[n:]
		}
		if d.wire == wirePlain {
			s.openPlain(c, d)
		}
	}
	if n == len(p) || c.Closing() {
		return nil
	}
	return s.onFrames(c, d, p[n:]) // frames that were sent without waiting for the answer
}

// onFrames takes the payload out of WebSocket frames, in place: the first d.decoded bytes of p are payload already, the
// rest are frames. It hands MQTT on as a stream and everything else message by message, and returns what is left of both.
func (s *shard) onFrames(c *epoll.Conn, d *device, p []byte) (rest []byte) {
	if d.state == stateMoving || s.plainAwaits(c, d, p) {
		return p
	}
	now := s.loop.NowSec()
	n, raw := int(d.decoded), p[d.decoded:]
	if d.whole {
		if !s.onWhole(c, d, d.op, p[:n], true) {
			return p
		}
		d.whole, n = false, 0
	}
	for {
		// Packets are handled before the next frame is looked at: a close frame, or a bad one, does not overtake them.
		if d.wire == wireFrameMQTT && n > 0 {
			left := s.onPackets(c, d, p[:n])
			if c.Closing() {
				return nil
			}
			if len(left) < n {
				n = copy(p, left)
			}
			if c.Paused() {
				break // no room in the uplink, or on the way home: the frames wait as they are
			}
		}
		if len(raw) == 0 || s.mustWait(c, d) {
			break
		}
		chunk, size, code := d.reader.Next(raw, s.frameLimits(c, d))
		if code != 0 {
			s.close(c, d, reasonOfWS(code))
			return nil
		}
		if size == 0 {
			break
		}
		raw = raw[size:]
		s.work += packetWork + size/packetBytesPerWork
		if d.missed = 0; d.wire >= wirePlain && d.state == stateLive {
			d.lastSec = now
		}
		if chunk.Op >= ws.OpClose {
			if !s.onControl(c, d, &chunk) {
				return nil
			}
			if s.pacer != nil && s.tooFast(c, d, size) {
				return nil
			}
			continue
		}
		n += copy(p[n:], chunk.Payload)
		if d.wire == wireFrameMQTT {
			if chunk.Op != ws.OpBinary { // [MQTT-6.0.0-1]
				s.close(c, d, reasonFrameType)
				return nil
			}
			continue
		}
		if !chunk.Last {
			continue
		}
		if !s.onWhole(c, d, chunk.Op, p[:n], false) {
			if c.Closing() {
				return nil
			}
			// No room for it now, or its turn is over: it is offered again, whole, when reading resumes.
			d.op, d.whole = chunk.Op, true
			break
		}
		if s.pacer != nil && s.tooFast(c, d, n) {
			return nil
		}
		n, d.partialSec = 0, 0
	}
	d.decoded = uint32(n)
	rest = p[:n+copy(p[n:], raw)]
	d.waitsForRest(now, len(rest) == 0 || c.Paused())
	return rest
}

// tooFast counts bytes of a device against its rate; true: it is closed for them.
func (s *shard) tooFast(c *epoll.Conn, d *device, n int) bool {
	s.paced(c, d, n)
	return c.Closing()
}

// waitsForRest notes since when a message is incomplete, if one is. While we do not listen, nothing is late.
func (d *device) waitsForRest(now uint32, nothing bool) {
	switch {
	case nothing:
		d.partialSec = 0
	case d.partialSec == 0:
		d.partialSec = now
	}
}

// frameLimits bounds the messages of a device: more closely before it has said who it is.
func (s *shard) frameLimits(c *epoll.Conn, d *device) *ws.Limits {
	limits := &s.wsLimits[c.Listener()]
	if d.talks() && d.state == stateOpening {
		return &limits[wireUnknown]
	}
	return &limits[d.wire]
}

// onControl answers a control frame; false: the connection is closed.
func (s *shard) onControl(c *epoll.Conn, d *device, chunk *ws.Chunk) bool {
	switch chunk.Op {
	case ws.OpPing:
		c.End(ws.AppendFrame(c.Begin(), ws.OpPong, chunk.Payload))
	case ws.OpClose:
		code, _, bad := ws.ParseClose(chunk.Payload)
		if bad != 0 {
			s.close(c, d, reasonOfWS(bad))
			return false
		}
		// Closing the WebSocket says nothing of the MQTT will: only DISCONNECT deletes it. A plain device has none.
		d.reason = reasonPeerClosed
		c.End(ws.AppendClose(c.Begin(), code, ""))
		s.leave(c, d, &session.Event{Kind: session.Lost, KeepWill: true})
		return false
	}
	return true
}
