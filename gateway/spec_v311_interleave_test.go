package gateway

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// The four packets of QoS 2 with the connection lost at every point, on either side, twice over: a message arrives
// once, whatever was under way [MQTT-4.3.3-1] [MQTT-4.3.3-2] [MQTT-4.4.0-1].

// ends are the ways a connection is lost. A takeover loses it only by the next CONNECT; within a packet no goodbye has a place.
var ends = []struct {
	name   string
	end    func(c *client)
	within func(c *client)
}{
	{"FIN", (*client).cut, (*client).cut},
	{"RST", (*client).reset, (*client).reset},
	{"DISCONNECT", func(c *client) { c.write([]byte("\xe0\x00")); c.cut() }, (*client).cut},
	{"takeover", func(*client) {}, func(*client) {}},
}

// lossesOf is how many of the ends are tried with a version; the session is the same for both.
var lossesOf = map[mqtt.Version]int{mqtt.V31: 1, mqtt.V311: len(ends)}

// sender is a device that publishes one message of QoS 2 and forgets nothing but what it did not get to.
type sender struct {
	r        *rig
	v        mqtt.Version
	id       string
	topic    string
	packetID uint16
	c        *client
	sent     bool // PUBLISH went out before: the next one is a duplicate
	received bool // PUBREC came: PUBREL is what is left
	released bool // PUBREL went out before
	done     bool // PUBCOMP came
}

// sendCuts are the points at which a sender loses its connection, in the order they come.
var sendCuts = []string{
	"within PUBLISH", "after PUBLISH", "after PUBREC", "within PUBREL", "after PUBREL", "after PUBCOMP", "nowhere",
}

// connect is a new connection of the session; an old one may still be there.
func (s *sender) connect() {
	s.r.t.Helper()
	old := s.c
	present := accepted311Present
	if old == nil || s.v == mqtt.V31 {
		present = accepted311
	}
	s.c = s.r.open(s.v, s.r.mqtt)
	s.c.says(connectKeep(s.v, s.id), present)
	if old != nil {
		old.conn.Close()
	}
}

// connectKeep is a CONNECT with clean session 0.
func connectKeep(v mqtt.Version, id string) string {
	if v == mqtt.V31 {
		return fixed(0x10, str("MQIsdp")+"\x03\x00\x00\x00"+str(id))
	}
	return connect311(0x00, str(id))
}

// runs goes on where the sender was, until the cut or the end; false: it has come to the cut.
func (s *sender) runs(cut string) bool {
	s.r.t.Helper()
	if !s.received {
		flags := byte(pubQoS2)
		if s.sent {
			flags |= pubDup // [MQTT-3.3.1-1]
		}
		p := publish311(flags, s.topic, s.packetID, "first")
		if cut == "within PUBLISH" {
			s.c.write([]byte(p[:len(p)-1]))
			return false
		}
		s.writeAndSee(p, mqtt.TypePublish)
		s.sent = true
		if cut == "after PUBLISH" {
			return false
		}
		s.c.answers(pubrec(s.packetID))
		s.received = true
		if cut == "after PUBREC" {
			return false
		}
	}
	p := pubrel(s.packetID)
	if s.released && s.v == mqtt.V31 {
		p = "\x6a" + p[1:] // 3.1 marks it as sent again
	}
	if cut == "within PUBREL" {
		s.c.write([]byte(p[:3]))
		return false
	}
	s.writeAndSee(p, mqtt.TypePubrel)
	s.released = true
	if cut == "after PUBREL" {
		return false
	}
	s.c.answers(pubcomp(s.packetID))
	s.done = true
	return cut != "after PUBCOMP"
}

// writeAndSee sends a packet and waits until the gateway has read it.
func (s *sender) writeAndSee(p string, ty mqtt.Type) {
	s.r.t.Helper()
	before := s.r.sum().packetsIn[ty]
	s.c.write([]byte(p))
	for deadline := time.Now().Add(patience); s.r.sum().packetsIn[ty] == before; runtime.Gosched() {
		if time.Now().After(deadline) {
			s.r.t.Fatalf("the gateway does not read %v", ty)
		}
	}
}

// TestQoS2FromDeviceCutEverywhere: a message that a device publishes reaches devices of both loops and NATS once, and its
// packet id then stands for a new one.
func TestQoS2FromDeviceCutEverywhere(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311} {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			r := start(t)
			back := r.onNATS("il.>")
			watch := r.across("watch")
			for _, w := range watch {
				w.takes(2, "il/#")
			}
			n := 0
			for _, end := range ends[:lossesOf[v]] {
				for first := range sendCuts {
					for second := range sendCuts {
						if second > 0 && first >= len(sendCuts)-2 {
							break // it was done
						}
						n++
						name := fmt.Sprintf("%s %s, %s", end.name, sendCuts[first], sendCuts[second])
						s := &sender{r: r, v: v, id: fmt.Sprint("s", n), topic: fmt.Sprint("il/", n), packetID: uint16(n)}
						for _, cut := range []string{sendCuts[first], sendCuts[second], "nowhere"} {
							if s.done {
								break
							}
							s.connect()
							if s.runs(cut) {
								continue
							}
							if strings.HasPrefix(cut, "within") {
								end.within(s.c)
							} else {
								end.end(s.c)
							}
						}
						s.connect()
						s.c.says(publish311(pubQoS2, s.topic, s.packetID, "second"), pubrec(s.packetID))
						s.c.says(pubrel(s.packetID), pubcomp(s.packetID))
						s.c.silent()
						s.c.cut()
						for _, payload := range []string{"first", "second"} {
							for _, w := range watch {
								if g := w.message(); g.topic != s.topic || g.payload != payload || g.QoS != 2 || g.Dup {
									t.Fatalf("%s: a watcher got %s %q (QoS %d, dup %v), want %s %q", name, g.topic, g.payload, g.QoS, g.Dup, s.topic, payload)
								}
							}
							back.gets(strings.ReplaceAll(s.topic, "/", "."), payload)
						}
					}
				}
			}
			for _, w := range watch {
				w.silent()
			}
		})
	}
}

// TestQoS2FromDeviceRepeated: what a device sends twice on one connection is answered twice and published once; PUBREL
// may come again and again, PUBLISH after PUBCOMP is a new message, with or without DUP.
func TestQoS2FromDeviceRepeated(t *testing.T) {
	t.Parallel()
	r := start(t)
	watch := r.across("watch")
	for _, w := range watch {
		w.takes(2, "il/x")
	}
	p := r.device311("p", 0, accepted311)
	p.says(publish311(pubQoS2, "il/x", 7, "a"), pubrec(7))
	p.says(publish311(pubQoS2|pubDup, "il/x", 7, "a")+publish311(pubQoS2, "il/x", 7, "a"), pubrec(7), pubrec(7))
	p.says(publish311(pubQoS2, "il/x", 8, "b"), pubrec(8)) // another one in between
	p.says(pubrel(7), pubcomp(7))
	p.says(pubrel(7), pubcomp(7))
	p.says(publish311(pubQoS2|pubDup, "il/x", 7, "c"), pubrec(7))
	p.says(pubrel(7)+pubrel(8), pubcomp(7), pubcomp(8))
	p.says(pubrel(8), pubcomp(8))
	p.says(pubrel(9), pubcomp(9)) // never heard of
	for _, payload := range []string{"d", "e"} {
		p.says(publish311(pubQoS2, "il/x", 8, payload), pubrec(8))
		p.says(pubrel(8), pubcomp(8))
	}
	p.silent()
	for _, w := range watch {
		for _, payload := range []string{"a", "b", "c", "d", "e"} {
			w.gets("il/x", payload)
		}
		w.silent()
	}
}

// receiver is a device that takes one message of QoS 2 and forgets nothing.
type receiver struct {
	r        *rig
	v        mqtt.Version
	id       string
	c        *client
	packetID uint16
	had      bool     // PUBLISH with packetID came
	recd     bool     // the gateway has read PUBREC
	told     bool     // PUBREL came
	done     bool     // the gateway has read PUBCOMP
	app      []string // messages handed to the application
}

// takeCuts are the points at which a receiver loses its connection.
var takeCuts = []string{
	"before PUBLISH is read", "after PUBLISH", "within PUBREC", "after PUBREC", "after PUBREL", "within PUBCOMP", "after PUBCOMP", "nowhere",
}

func (d *receiver) connect() {
	d.r.t.Helper()
	s := sender{r: d.r, v: d.v, id: d.id, c: d.c}
	s.connect()
	d.c = s.c
}

// runs takes what comes until the cut or the end; false: it has come to the cut.
func (d *receiver) runs(cut string) bool {
	d.r.t.Helper()
	if !d.recd {
		if cut == "before PUBLISH is read" {
			return false
		}
		d.takePublish()
		if cut == "after PUBLISH" {
			return false
		}
		if cut == "within PUBREC" {
			d.c.write([]byte(pubrec(d.packetID)[:3]))
			return false
		}
		d.writeAndSee(pubrec(d.packetID), mqtt.TypePubrec)
		d.recd = true
		if cut == "after PUBREC" {
			return false
		}
		d.c.answers(pubrel(d.packetID))
	} else {
		// Once PUBREL is due PUBLISH is never sent again [MQTT-4.3.3-1]. The connection may have ended before it was sent.
		want, got := pubrel(d.packetID), string(d.c.packet())
		again := want
		if d.v == mqtt.V31 {
			again = "\x6a" + want[1:]
		}
		if got != again && (d.told || got != want) {
			d.r.t.Fatalf("got %q, want %q", got, again)
		}
	}
	d.told = true
	if cut == "after PUBREL" {
		return false
	}
	if cut == "within PUBCOMP" {
		d.c.write([]byte(pubcomp(d.packetID)[:3]))
		return false
	}
	d.writeAndSee(pubcomp(d.packetID), mqtt.TypePubcomp)
	d.done = true
	return cut != "after PUBCOMP"
}

// takePublish reads the PUBLISH, which is marked as a duplicate exactly when it may have come before, and has the id it had
// [MQTT-3.3.1-1] [MQTT-4.4.0-1].
func (d *receiver) takePublish() {
	d.r.t.Helper()
	g := d.c.expect(mqtt.TypePublish)
	if g.QoS != 2 || d.had && (!g.Dup || g.PacketID != d.packetID) {
		d.r.t.Fatalf("PUBLISH %d (QoS %d, dup %v), the first one was %d", g.PacketID, g.QoS, g.Dup, d.packetID)
	}
	if !d.had {
		d.app = append(d.app, g.payload)
	}
	d.had, d.packetID = true, g.PacketID
}

func (d *receiver) writeAndSee(p string, ty mqtt.Type) {
	d.r.t.Helper()
	s := sender{r: d.r, c: d.c}
	s.writeAndSee(p, ty)
}

// TestQoS2ToDeviceCutEverywhere: a message to a device reaches its application once, and its successor after it.
func TestQoS2ToDeviceCutEverywhere(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311} {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			r := start(t)
			p := r.clean311("pub")
			n := 0
			for _, end := range ends[:lossesOf[v]] {
				for first := range takeCuts {
					for second := range takeCuts {
						if second > 0 && first >= len(takeCuts)-2 {
							break // it was done
						}
						n++
						t.Run(fmt.Sprintf("%s/%s/%s", end.name, takeCuts[first], takeCuts[second]), func(t *testing.T) {
							d := &receiver{r: r.in(t), v: v, id: fmt.Sprint("d", n)}
							d.connect()
							topic := fmt.Sprint("il/", n)
							d.c.takes(2, topic)
							before := r.sum().packetsOut[mqtt.TypePublish]
							p.gives(pubQoS2, topic, "first")
							r.eventually("it is sent", func() bool { return r.sum().packetsOut[mqtt.TypePublish] > before })
							for i, cut := range []string{takeCuts[first], takeCuts[second], "nowhere"} {
								if d.done {
									break
								}
								if i > 0 {
									d.connect()
								}
								if d.runs(cut) {
									continue
								}
								if strings.HasPrefix(cut, "within") {
									end.within(d.c)
								} else {
									end.end(d.c)
								}
							}
							d.connect()
							d.c.silent() // nothing is owed
							p.gives(pubQoS2, topic, "second")
							d.had, d.recd, d.told = false, false, false
							if !d.runs("nowhere") || strings.Join(d.app, " ") != "first second" {
								t.Fatalf("the application got %q", d.app)
							}
							d.c.silent()
							d.c.cut()
						})
					}
				}
			}
		})
	}
}

// TestQoS2ToDeviceRepeated: PUBREC twice is answered with PUBREL twice, PUBCOMP twice and the late PUBREC of a message that is
// done harm nothing, and the next message comes.
func TestQoS2ToDeviceRepeated(t *testing.T) {
	t.Parallel()
	r := start(t)
	d := r.device311("d", 0, accepted311)
	d.takes(2, "il/x")
	p := r.clean311("p")
	p.gives(pubQoS2, "il/x", "a")
	g := d.expect(mqtt.TypePublish)
	id := g.PacketID
	d.says(pubrec(id), pubrel(id))
	d.says(pubrec(id), pubrel(id))
	d.says(pubcomp(id) + pubcomp(id))
	d.silent()
	d.says(pubrec(id), pubrel(id)) // the device has lost its memory of it
	d.says(pubcomp(id))
	d.silent()
	p.gives(pubQoS2, "il/x", "b")
	d.gets("il/x", "b")
	d.silent()
}
