package main

import (
	"slices"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// qosOf is the QoS of a device's telemetry; a frame of a plain WebSocket device has none.
func (f *fleet) qosOf(d *device) byte {
	if f.p.Targets[d.target].Kind == kindPlain {
		return 0
	}
	return f.p.QoS
}

// push sends what is due as far as connection, window and socket allow. A device that is away keeps QoS 1 and 2 for its
// return and forgets QoS 0. c is nil when it has no connection.
func (f *fleet) push(i uint32, d *device, c *epoll.Conn) {
	qos := f.qosOf(d)
	if c == nil || d.phase != live || c.Closing() {
		if qos == 0 {
			f.count.Skipped += uint64(d.due - d.next)
			f.open -= int64(d.due - d.next)
			d.next = d.due
		}
		return
	}
	flat := f.flat && qos > 0 && d.role == good && int(i) < f.p.Pubs
	for (flat || d.next < d.due) && canSend(c) {
		if qos > 0 && len(d.flights) >= int(d.window) {
			return
		}
		at := f.now
		if flat {
			d.due++
			f.open++
		} else {
			at = f.intended(i, d.next+1)
		}
		f.sendNext(i, d, c, at)
	}
}

// sendNext sends a device's next message, which was to be sent at the given time.
func (f *fleet) sendNext(i uint32, d *device, c *epoll.Conn, at int64) {
	d.next++
	d.sent++
	f.count.Sent++
	if at < f.calmUntil {
		f.count.SentCalm++
	}
	f.count.Expected += uint64(f.copiesOf(i))
	fl := flight{at: at, sequence: d.next}
	if f.qosOf(d) == 0 {
		f.open--
	} else {
		fl.id = f.freeID(d)
		d.flights = append(d.flights, fl)
	}
	f.publish(c, i, d, fl, false)
}

// intended is when the schedule wanted a device's message sent.
func (f *fleet) intended(i, sequence uint32) int64 {
	return f.sends.at(uint64(sequence-1)*uint64(f.p.Pubs) + uint64(i))
}

// publish sends one message.
func (f *fleet) publish(c *epoll.Conn, i uint32, d *device, fl flight, dup bool) {
	s := stamp{run: f.p.Run, device: f.number(i), sequence: uint64(fl.sequence), sentAt: fl.at}
	f.body = s.append(f.body[:0], f.p.PayloadBytes)
	if f.p.Targets[d.target].Kind == kindPlain {
		d.sentSec = f.loop.NowSec()
		c.End(ws.AppendMasked(c.Begin(), ws.OpBinary, f.body, f.mask()))
		return
	}
	f.id = appendID(f.id[:0], f.p.Prefix, f.number(i))
	f.topic = f.up.append(f.topic[:0], f.id)
	f.out = mqtt.PublishOut{Topic: f.topic, Payload: f.body, QoS: f.p.QoS, PacketID: fl.id, Dup: dup}
	f.end(c, d, mqtt.AppendPublish(f.begin(c, d), f.p.Version, &f.out))
}

// resend repeats, after a reconnect, what the server has not acknowledged [MQTT-4.4.0-1]. If it has kept the session
// these are the same messages; if not they are new ones, and what had come as far as PUBREC was taken.
func (f *fleet) resend(c *epoll.Conn, i uint32, d *device) {
	if !d.session {
		kept := len(d.flights)
		d.flights = slices.DeleteFunc(d.flights, func(fl flight) bool { return fl.released })
		f.settled(d, kept-len(d.flights))
		d.taken = d.taken[:0]
	}
	for _, fl := range d.flights {
		f.count.Resent++
		if fl.released {
			f.end(c, d, mqtt.AppendPubrel(f.begin(c, d), f.p.Version, fl.id, mqtt.Success))
		} else {
			f.publish(c, i, d, fl, d.session)
		}
	}
}

// settled counts messages that the server has accepted.
func (f *fleet) settled(d *device, n int) {
	d.acked += uint32(n)
	f.count.Acked += uint64(n)
	f.open -= int64(n)
}

// acknowledged handles PUBACK, PUBREC and PUBCOMP.
func (f *fleet) acknowledged(c *epoll.Conn, i uint32, d *device, pkt *mqtt.Packet) {
	at := slices.IndexFunc(d.flights, func(fl flight) bool { return fl.id == pkt.PacketID })
	if at < 0 {
		if pkt.Type == mqtt.TypePubrec { // of a message that an earlier connection settled
			f.end(c, d, mqtt.AppendPubrel(f.begin(c, d), f.p.Version, pkt.PacketID, mqtt.PacketIdentifierNotFound))
			return
		}
		f.fail(c, d, "the server acknowledged a message that was not sent")
		return
	}
	fl := &d.flights[at]
	switch {
	case pkt.Reason.Failed(): // an answer, if not a kind one: the device has done its part
		f.count.Refused++
		f.open--
		d.flights = slices.Delete(d.flights, at, at+1)
		f.push(i, d, c)
	case pkt.Type == mqtt.TypePubrec && f.p.QoS == 2:
		fl.released = true
		f.end(c, d, mqtt.AppendPubrel(f.begin(c, d), f.p.Version, fl.id, mqtt.Success))
	case (pkt.Type == mqtt.TypePuback) == (f.p.QoS == 1):
		f.hist.Ack.record(f.now - fl.at)
		f.hist.ackNow.record(f.now - fl.at)
		d.flights = slices.Delete(d.flights, at, at+1)
		f.settled(d, 1)
		f.push(i, d, c)
	default:
		f.fail(c, d, "the server acknowledged with "+pkt.Type.String()+" at the wrong QoS")
	}
}

// freeID returns a packet identifier that no message under way has.
func (f *fleet) freeID(d *device) uint16 {
	for {
		if d.packetID++; d.packetID == 0 {
			continue
		}
		if !slices.ContainsFunc(d.flights, func(fl flight) bool { return fl.id == d.packetID }) {
			return d.packetID
		}
	}
}
