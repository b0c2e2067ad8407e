package gateway

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
	"github.com/tidegate/tidegate/session"
)

// trickle sends p one byte at a time until it is written or the connection fails.
func trickle(c *client, p []byte, pace time.Duration, stop <-chan struct{}) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for _, b := range p {
		if _, err := c.conn.Write([]byte{b}); err != nil {
			return
		}
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

// TestPacketTimeout: a live device that sends a byte now and then is closed when one packet takes too long; its
// keep-alive does not save it, and others are unaffected.
func TestPacketTimeout(t *testing.T) {
	publish := mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("slow"), Payload: bytes.Repeat([]byte("x"), 500)})
	for _, tc := range []struct {
		name  string
		via   string
		bytes []byte
		want  mqtt.Reason
		code  ws.CloseCode
	}{
		{"tcp", "tcp", publish, mqtt.ProtocolError, 0},
		{"ws", "ws", ws.AppendMasked(nil, ws.OpBinary, publish, [4]byte{1, 2, 3, 4}), mqtt.ProtocolError, ws.PolicyViolation},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, short, func(c *Config) { c.Limits.PacketTime = 2 * time.Second })
			other := r.connect(mqtt.V5, "other")
			c, _ := r.connectOn(r.via(tc.via, mqtt.V5), "slow")
			stop := make(chan struct{})
			defer close(stop)
			go trickle(c, tc.bytes, time.Second, stop)
			began := time.Now()
			c.endsWith(tc.want, tc.code)
			if took := time.Since(began); took < 1900*time.Millisecond || took > 8*time.Second {
				t.Errorf("closed after %v, want 2 s and a little", took)
			}
			r.closesBy(reasonPacketTimeout, 0, 1)
			other.ping()
		})
	}
}

// TestNeverReads: a device that subscribes and never reads costs one batch and its queue. QoS 0 to it is dropped and
// counted, it is closed as stalled, and others get every message meanwhile; see D2.
func TestNeverReads(t *testing.T) {
	for _, way := range transports {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			r := start(t, short, func(c *Config) { c.Limits.BatchBytesMax = 64 << 10 })
			deaf, _ := r.connectOn(r.via(way, mqtt.V5), r.ids("deaf", 0, 1)[0])
			deaf.subscribe(1, "flood/#")
			other := r.connect(mqtt.V5, r.ids("other", 0, 1)[0])
			other.subscribe(0, "flood/#")
			p := r.connect(mqtt.V5, r.ids("pub", 0, 1)[0])
			payload := strings.Repeat("x", 32<<10)
			sent := 0
			r.eventually("the deaf device is closed", func() bool {
				p.publish(byte(sent%2), "flood/x", payload)
				sent++
				other.gets("flood/x", payload)
				return r.closedBy(reasonStalled) == 1
			})
			s := r.sum()
			if s.drops[session.DropCongested] == 0 {
				t.Error("no QoS 0 message was counted as congested")
			}
			if held := r.held(); held > 4<<20 {
				t.Errorf("the loops hold %d bytes", held)
			}
			other.ping()
		})
	}
}

// TestReadsOneByteAtATime: a device that reads a byte now and then does not make its batch move, as the kernel tells the
// gateway of room in larger steps only; it is closed like one that never reads; see D3.
func TestReadsOneByteAtATime(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, short, func(c *Config) { c.Limits.BatchBytesMax = 64 << 10 })
	w := r.witness()
	slow := r.connect(mqtt.V5, "slow")
	slow.subscribe(0, "flood")
	stop := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		var one [1]byte
		for range time.Tick(200 * time.Millisecond) {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := slow.conn.Read(one[:]); err != nil {
				return
			}
		}
	})
	p := r.connect(mqtt.V5, "pub")
	payload := strings.Repeat("x", 32<<10)
	r.eventually("the slow device is closed", func() bool {
		p.publish(1, "flood", payload)
		return r.closedBy(reasonStalled) == 1
	})
	close(stop)
	reading.Wait()
	w.check()
}

// held is the memory of all batches and tails.
func (r *rig) held() (n int) {
	r.t.Helper()
	all, _ := r.gw.snapshots()
	for i := range all {
		n += all[i].loop.BatchBytes + all[i].loop.TailBytes
	}
	return n
}

// TestFloods: a device that sends as fast as it can what costs the gateway work, without reading the answers, is bounded by
// its batch and closed; others go on; see D4.
func TestFloods(t *testing.T) {
	for name, packet := range map[string][]byte{"PINGREQ": mqtt.AppendPingreq(nil), "unknown PUBREL": {0x62, 2, 0, 9}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, short)
			w := r.witness()
			c := r.connect(mqtt.V5, "flood")
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				burst := bytes.Repeat(packet, 32<<10/len(packet))
				for {
					_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
					if _, err := c.conn.Write(burst); err != nil {
						return
					}
				}
			}()
			most := 0
			r.eventually("it is closed", func() bool {
				w.check()
				most = max(most, r.held())
				select {
				case <-ended:
					return true
				default:
					return false
				}
			})
			r.closesBy(reasonStalled, 0, 1)
			r.eventually("nothing of it is left", func() bool { return r.sum().sessions == len(w.devices) && r.sockets() == len(w.devices) })
			if most > 4<<20 {
				t.Errorf("it made the gateway hold %d bytes", most)
			}
		})
	}
}

// TestSubscriptionChurn: a device that subscribes and unsubscribes as fast as it can does not outrun NATS: what is still to be
// told there is bounded, and others are served; see D4.
func TestSubscriptionChurn(t *testing.T) {
	t.Parallel()
	r := start(t)
	w := r.witness()
	churn := mqtt.AppendSubscribe(nil, mqtt.V5, 1, []mqtt.Filter{{Topic: []byte("churn/+/x"), QoS: 1}, {Topic: []byte("$share/g/churn"), QoS: 1}}, 0)
	churn = mqtt.AppendUnsubscribe(churn, mqtt.V5, 2, []mqtt.Filter{{Topic: []byte("churn/+/x")}, {Topic: []byte("$share/g/churn")}})
	burst := bytes.Repeat(churn, 400)
	c := r.connect(mqtt.V5, "churn")
	most := 0
	for range 100 {
		c.write(burst)
		for range 800 {
			c.must()
		}
		r.gw.interests.mu.Lock()
		most = max(most, len(r.gw.interests.ops))
		r.gw.interests.mu.Unlock()
	}
	w.check()
	if most > 4096 {
		t.Errorf("%d changes waited for NATS at once", most)
	}
	c.disconnect()
	r.eventually("only the interest of the witnesses and that of plain devices are left", func() bool { return r.gw.interests.count() == 2 })
}
