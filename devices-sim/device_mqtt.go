package main

import (
	"slices"
	"time"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

const (
	packetBytesMax = 2 << 20  // the longest packet a device takes
	unsentBytesMax = 64 << 10 // a device with more than this unsent waits with the next message
	babbleBytes    = 200
)

// begin lends bytes to append one packet to, end sends them: as they are, or in a frame of their own.
func (f *fleet) begin(c *epoll.Conn, d *device) []byte {
	if f.p.Targets[d.target].Kind == kindMQTT {
		return c.Begin()
	}
	return f.packet[:0]
}

func (f *fleet) end(c *epoll.Conn, d *device, dst []byte) {
	d.sentSec = f.loop.NowSec()
	if f.p.Targets[d.target].Kind == kindMQTT {
		c.End(dst)
		return
	}
	f.packet = dst
	c.End(ws.AppendMasked(c.Begin(), ws.OpBinary, dst, f.mask()))
}

// greet sends CONNECT.
func (f *fleet) greet(c *epoll.Conn, i uint32, d *device) {
	f.id = appendID(f.id[:0], f.p.Prefix, f.number(i))
	out := mqtt.ConnectOut{
		ClientID: f.id, Username: []byte(f.p.Username), Password: []byte(f.p.Password),
		CleanStart: !f.p.Persistent || d.role != good, KeepAliveSec: f.p.KeepAliveSec,
	}
	if !out.CleanStart {
		out.SessionExpirySec = f.p.ExpirySec
	}
	d.phase = greeting
	f.end(c, d, mqtt.AppendConnect(f.begin(c, d), f.p.Version, &out))
}

// packets handles the whole packets in p and returns how many bytes they took. A connection that ends on the way keeps
// nothing.
func (f *fleet) packets(c *epoll.Conn, i uint32, d *device, p []byte) (n int) {
	for n < len(p) && !c.Closing() && !c.Paused() {
		packet, size, r := mqtt.Next(p[n:], packetBytesMax)
		if r == mqtt.Success && size == 0 {
			return n
		}
		if r == mqtt.Success {
			r = mqtt.Decode(packet, f.p.Version, &f.pkt)
		}
		if r == mqtt.Success {
			r = mqtt.ServerFault(&f.pkt)
		}
		if r != mqtt.Success {
			f.fail(c, d, "the server sent a bad packet: "+r.String())
			return len(p)
		}
		n += size
		f.handle(c, i, d, &f.pkt)
	}
	if c.Closing() {
		return len(p)
	}
	return n
}

// handle acts on one packet.
func (f *fleet) handle(c *epoll.Conn, i uint32, d *device, pkt *mqtt.Packet) {
	switch pkt.Type {
	case mqtt.TypeConnack:
		f.welcomed(c, i, d, pkt)
	case mqtt.TypeSuback:
		f.subscribed(c, i, d, pkt)
	case mqtt.TypePublish:
		f.received(c, i, d, pkt)
	case mqtt.TypePuback, mqtt.TypePubrec, mqtt.TypePubcomp:
		f.acknowledged(c, i, d, pkt)
	case mqtt.TypePubrel:
		if at := slices.Index(d.taken, pkt.PacketID); at >= 0 {
			d.taken = slices.Delete(d.taken, at, at+1)
		}
		f.end(c, d, mqtt.AppendPubcomp(f.begin(c, d), f.p.Version, pkt.PacketID, mqtt.Success))
	case mqtt.TypePingresp:
		d.pinging = false
	case mqtt.TypeDisconnect:
		f.fail(c, d, "the server disconnected: "+pkt.Reason.String())
	}
}

// welcomed goes on after CONNACK.
func (f *fleet) welcomed(c *epoll.Conn, i uint32, d *device, pkt *mqtt.Packet) {
	switch {
	case d.phase != greeting:
		f.fail(c, d, "the server sent a second CONNACK")
		return
	case f.p.Version == mqtt.V5 && pkt.Reason != mqtt.Success:
		f.fail(c, d, "refused: "+pkt.Reason.String())
		return
	case pkt.ReturnCode != 0:
		f.fail(c, d, "refused: "+returnCodes[min(int(pkt.ReturnCode), len(returnCodes)-1)])
		return
	}
	d.session, d.window = pkt.SessionPresent, f.p.Window
	if d.known && !d.session && f.keepsSessions() {
		f.count.SessionsLost++
	}
	if pkt.Props.Has(mqtt.PropReceiveMax) {
		d.window = min(d.window, pkt.Props.ReceiveMax)
	}
	switch filter := f.filter(i, d); {
	case d.role == garbage:
		f.babble(c, d)
	case filter == nil, d.known && d.session: // the server knows what it subscribes to
		f.becomeLive(c, i, d)
	default:
		d.phase = subscribing
		filters := []mqtt.Filter{{Topic: filter, QoS: f.p.QoS}}
		f.end(c, d, mqtt.AppendSubscribe(f.begin(c, d), f.p.Version, f.freeID(d), filters, 0))
	}
}

// returnCodes are the refusals of MQTT 3.x (§3.2.2.3).
var returnCodes = [...]string{
	"accepted", "unacceptable protocol version", "identifier rejected", "server unavailable", "bad user name or password", "not authorized", "unknown code",
}

// keepsSessions tells whether a server that has had a device before has to know it: MQTT 3.1 cannot say whether it does, and
// MQTT 5 lets sessions end.
func (f *fleet) keepsSessions() bool {
	switch {
	case !f.p.Persistent || f.p.Version == mqtt.V31:
		return false
	case f.p.Version == mqtt.V5:
		return f.p.Away < time.Duration(f.p.ExpirySec)*time.Second
	}
	return true
}

// filter is what the device subscribes to: its commands; a slow one everything, so that there is something not to read.
func (f *fleet) filter(i uint32, d *device) []byte {
	switch {
	case d.role == slow:
		return []byte(f.up.filter())
	case f.receives(i):
		f.topic = f.appendHeard(f.topic[:0], f.number(i))
		return f.topic
	case f.p.Subscribe == "":
		return nil
	}
	f.id = appendID(f.id[:0], f.p.Prefix, f.number(i))
	f.topic = f.down.append(f.topic[:0], f.id)
	return f.topic
}

// subscribed goes on after SUBACK.
func (f *fleet) subscribed(c *epoll.Conn, i uint32, d *device, pkt *mqtt.Packet) {
	switch {
	case d.phase != subscribing:
		f.fail(c, d, "the server sent a SUBACK for nothing")
	case len(pkt.Reasons) != 1 || pkt.Reasons[0].Failed():
		f.fail(c, d, "subscription refused")
	default:
		f.becomeLive(c, i, d)
	}
}

// becomeLive is the only door to live.
func (f *fleet) becomeLive(c *epoll.Conn, i uint32, d *device) {
	d.phase, d.failures = live, 0
	if f.p.Targets[d.target].Kind != kindPlain && f.p.KeepAliveSec > 0 && d.role != silent {
		c.Arm(f.loop.NowSec() + f.pingAfterSec())
	} else {
		c.Arm(0)
	}
	switch d.role {
	case slow:
		c.PauseRead()
		return
	case silent:
		d.since = f.now
		return
	}
	d.known, f.liveAt = true, f.now
	f.count.Connects++
	f.count.Live++
	f.count.LiveMax = max(f.count.LiveMax, f.count.Live)
	f.hist.Connect.record(f.now - d.since)
	if f.stormNanos < 0 && f.count.Live >= f.goodOnes {
		f.stormNanos += f.now
	}
	f.resend(c, i, d)
	f.push(i, d, c)
}

// pingAfterSec is how long a device may be silent before it pings: three quarters of the keep-alive, because the loop's
// clock has whole seconds and the keep-alive is a promise [MQTT-3.1.2-20].
func (f *fleet) pingAfterSec() uint32 { return uint32(f.p.KeepAliveSec) * 3 / 4 }

// keepAlive sends PINGREQ when the device had nothing else to say, and judges the server by the last one. A slow device pings as well: it is to be ended for what it does not read.
func (f *fleet) keepAlive(c *epoll.Conn, d *device) {
	interval, nowSec := f.pingAfterSec(), f.loop.NowSec()
	switch {
	case nowSec < d.sentSec+interval:
	case d.pinging && d.role == good:
		f.fail(c, d, "no PINGRESP")
		return
	default:
		d.pinging = true
		f.count.Pings++
		f.end(c, d, mqtt.AppendPingreq(f.begin(c, d)))
	}
	c.Arm(d.sentSec + interval)
}

// received counts a command and acknowledges it.
func (f *fleet) received(c *epoll.Conn, i uint32, d *device, pkt *mqtt.Packet) {
	again := false
	if pkt.QoS == 2 {
		// A repeated PUBLISH of QoS 2 is answered again and not taken again. [MQTT-4.3.3-10]
		if again = slices.Contains(d.taken, pkt.PacketID); !again {
			d.taken = append(d.taken, pkt.PacketID)
		}
	}
	switch {
	case again:
	case f.receives(i):
		f.arrived(i, d, pkt.Payload)
	default:
		f.command(i, d, pkt.Payload)
	}
	switch pkt.QoS {
	case 1:
		f.end(c, d, mqtt.AppendPuback(f.begin(c, d), f.p.Version, pkt.PacketID, mqtt.Success))
	case 2:
		f.end(c, d, mqtt.AppendPubrec(f.begin(c, d), f.p.Version, pkt.PacketID, mqtt.Success))
	}
}

// command counts a message for the device.
func (f *fleet) command(i uint32, d *device, payload []byte) {
	if d.role != good {
		return
	}
	s, ok := parseStamp(payload)
	if !ok || s.run != f.p.Run || s.device != f.number(i) {
		f.count.Foreign++
		return
	}
	switch d.commands.note(s.sequence) {
	case isDuplicate:
		f.count.CommandTwice++
		return
	case isLate:
		f.count.CommandLate++
	}
	f.count.Commands++
	f.commandAt = f.now
	f.hist.Command.record(f.now - s.sentAt)
}

// goodbye ends a connection as a device should.
func (f *fleet) goodbye(c *epoll.Conn, d *device) {
	was, kind := d.phase, f.p.Targets[d.target].Kind
	if was == live && d.role == good {
		f.count.Live--
	}
	d.phase = parting
	if was < greeting || was == babbling {
		c.Close()
		return
	}
	if kind != kindPlain {
		f.end(c, d, mqtt.AppendDisconnect(f.begin(c, d), f.p.Version, mqtt.NormalDisconnection, nil))
	}
	if kind != kindMQTT {
		f.closeFrame(c, ws.CloseNormal)
	}
	c.Finish(2)
}

// babble sends random bytes.
func (f *fleet) babble(c *epoll.Conn, d *device) {
	d.phase = babbling
	dst := c.Begin()
	for range babbleBytes {
		dst = append(dst, byte(f.rng.Uint32()))
	}
	c.End(dst)
}
