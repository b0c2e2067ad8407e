package gateway

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// Tests of docs/faults.md that no other file has. The number behind TestFault is the entry.

// TestFaultB1Announced: what is announced and does not come costs the bytes that came, before CONNECT and after it.
func TestFaultB1Announced(t *testing.T) {
	t.Parallel()
	for _, way := range transports {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			r := start(t, unrecorded)
			for i := range 100 {
				c := r.via(way, mqtt.V5)
				header := []byte{0x10, 0xff, 0x7f} // a CONNECT of 16 kB, the largest
				if i%2 == 0 {
					c, _ = r.connectOn(c, fmt.Sprint("announcer-", i))
					header = []byte{0x30, 0xf0, 0xff, 0x3f} // a PUBLISH of 1 MB, the largest
				}
				c.write(header)
			}
			r.eventually("the headers have come", func() bool { return r.held() >= 300 })
			if held := r.held(); held > 100*512 {
				t.Errorf("announcing made the loops hold %d bytes", held)
			}
		})
	}
}

// TestFaultB3PropertyBomb: thousands of user properties are read once for each device that they go to; what is too much for a header of NATS is
// refused. Nobody waits for either.
func TestFaultB3PropertyBomb(t *testing.T) {
	t.Parallel()
	r := start(t, unrecorded)
	w := r.witness()
	bomb := r.connect(mqtt.V5, r.ids("bomb", 0, 1)[0])
	sub := r.connect(mqtt.V5, r.ids("sub", 0, 1)[0])
	sub.subscribe(0, "bomb")
	for i, want := range []struct {
		properties int
		reason     mqtt.Reason
	}{{2000, mqtt.Success}, {140_000, mqtt.QuotaExceeded}, {2000, mqtt.Success}} {
		props := bytes.Repeat(mqtt.AppendUserProperty(nil, []byte("k"), []byte("v")), want.properties)
		bomb.write(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("bomb"), Props: props, QoS: 1, PacketID: uint16(1 + i)}))
		w.check()
		if got := bomb.expect(mqtt.TypePuback).Reason; got != want.reason && got != mqtt.NoMatchingSubscribers {
			t.Errorf("PUBACK for %d properties: %v", want.properties, got)
		}
		if want.reason != mqtt.Success {
			continue
		}
		if g := sub.message(); len(g.raw) < len(props) {
			t.Errorf("%d bytes arrived of %d", len(g.raw), len(props))
		}
	}
	bomb.ping()
}

// TestFaultB10PingFlood: a device that sends WebSocket pings and does not read the pongs is bounded by its batch, and closed.
func TestFaultB10PingFlood(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/mqtt", "/ws/pinger"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			r := start(t, short)
			w := r.witness()
			protocol := strings.Trim(strings.TrimPrefix(path, "/ws/pinger"), "/")
			c := r.openWS(mqtt.V5, path, protocol)
			if protocol == "mqtt" {
				r.connectOn(c, "pinger")
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				burst := bytes.Repeat(ws.AppendMasked(nil, ws.OpPing, make([]byte, 125), [4]byte{}), 250)
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
			if most > 4<<20 {
				t.Errorf("it made the gateway hold %d bytes", most)
			}
		})
	}
}

// TestFaultD9Renegotiation: a client that wants to renegotiate is refused or closed, and nobody else notices.
func TestFaultD9Renegotiation(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	a := newAuthority(t, t.TempDir(), "ca")
	r := start(t, a.secured())
	other := r.mustTLS(r.mqtt, a.client())
	r.connectOn(other, "other")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "s_client", "-tls1_2", "-connect", r.mqtt)
	// A first line of R renegotiates; what comes behind it is not read by anybody.
	cmd.Stdin = strings.NewReader("R\n")
	said, _ := cmd.CombinedOutput() // its exit code says how it was refused
	if !bytes.Contains(said, []byte("RENEGOTIATING")) || bytes.Count(said, []byte("BEGIN CERTIFICATE")) > 1 {
		t.Errorf("openssl did not try, or was let: %s", said)
	}
	other.ping()
	if s := r.sum(); s.loop.Handshakes != 2 {
		t.Errorf("%d handshakes", s.loop.Handshakes)
	}
}

// TestFault16Lines: the bytes by which NATS tells its commands apart are letters in topics, filters, client ids, wills and properties; what comes
// out of NATS is what went in, and nothing else.
func TestFault16Lines(t *testing.T) {
	t.Parallel()
	r := start(t, unrecorded)
	w := r.witness()
	all, err := r.nats().SubscribeSync("evil.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := all.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	const inject = "x\r\nPUB evil.x 4\r\nevil\r\nSUB > 99\r\n"
	c := r.connect(mqtt.V5, "c"+inject, func(c *mqtt.ConnectOut) {
		c.HasWill, c.WillTopic, c.WillPayload, c.Username = true, []byte("will/"+inject), []byte("gone"), []byte("u"+inject)
	})
	sub := r.connect(mqtt.V5, "sub")
	sub.subscribe(0, "a/"+inject+"/+", "will/#")
	c.subscribe(0, "$share/"+strings.ReplaceAll(inject, " ", "")+"/"+inject)
	props := mqtt.AppendUserProperty(nil, []byte("TG: x\r\nNats-Msg-Id"), []byte("1\r\n\r\nPUB evil.y 0\r\n"))
	c.write(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("a/" + inject + "/b"), Payload: []byte("PUB evil.z 0\r\n\r\n"), Props: props}))
	sub.gets("a/"+inject+"/b", "PUB evil.z 0\r\n\r\n")
	c.conn.Close()
	sub.gets("will/"+inject, "gone")
	w.check()
	if n, _, err := all.Pending(); n != 0 || err != nil {
		t.Errorf("%d messages came that nobody sent, %v", n, err)
	}
}

// TestFault27DamagedRecord: the record of a session that somebody has damaged does not end the gateway, nor keep its device out for good; other
// sessions are as they were.
func TestFault27DamagedRecord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, inDir(dir))
	for _, id := range []string{"damaged", "whole"} {
		c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), id, persistent)
		c.subscribe(1, "for/"+id)
		c.disconnect()
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = start(t, inDir(dir))
	js, err := jetstream.New(r.nats())
	if err != nil {
		t.Fatal(err)
	}
	records, err := js.KeyValue(t.Context(), "TG_sessions")
	if err != nil {
		t.Fatal(err)
	}
	key := string(bus.AppendClientKey(nil, []byte("damaged")))
	was, err := records.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	value := bytes.Clone(was.Value())
	for i := len(value) / 2; i < len(value); i++ {
		value[i] ^= 0x5a
	}
	if _, err := records.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
	c := r.open(mqtt.V5, r.mqtt)
	c.write(c.connectPacket("damaged", persistent))
	ack := c.expect(mqtt.TypeConnack)
	if ack.SessionPresent {
		t.Error("a damaged session is present")
	}
	clean := r.connect(mqtt.V5, "damaged") // with Clean Start it is as good as new
	clean.ping()
	if _, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "whole", persistent); !ack.SessionPresent {
		t.Error("another session is gone")
	}
}

// TestFault28Intervals: the longest and shortest times that a device can ask for are capped or kept, and none of them wraps.
func TestFault28Intervals(t *testing.T) {
	t.Parallel()
	const most = 0xFFFFFFFF
	r := start(t, memoryOnly)
	c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "eternal", func(c *mqtt.ConnectOut) {
		c.CleanStart, c.SessionExpirySec, c.KeepAliveSec = false, most, 0xFFFF
		c.HasWill, c.WillTopic, c.WillDelaySec, c.WillExpirySec, c.HasWillExpiry = true, []byte("will"), most, most, true
	})
	c.subscribe(1, "late")
	w := r.connect(mqtt.V5, "w")
	w.subscribe(1, "will")
	c.conn.Close()
	r.eventually("it is away", func() bool { s := r.sum(); return s.sessions-s.sessionsLive == 1 })
	w.write(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("late"), Payload: []byte("x"), QoS: 1, PacketID: 1, ExpirySec: most, HasExpiry: true}))
	w.expect(mqtt.TypePuback)
	c, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "eternal", persistent)
	if !ack.SessionPresent {
		t.Fatal("the session of the longest expiry is gone")
	}
	// The clock begins with the process, and its last second is the end of the longest expiry, too.
	if g := c.gets("late", "x"); g.Props.MessageExpirySec < most-60-r.nowSec() {
		t.Errorf("%d s are left of the longest expiry", g.Props.MessageExpirySec)
	}
	c.write([]byte{0xe0, 0x07, 0x04, 0x05, 0x11, 0xff, 0xff, 0xff, 0xff}) // DISCONNECT with the will, and the longest expiry
	r.eventually("it is away again", func() bool { s := r.sum(); return s.sessions-s.sessionsLive == 1 })
	w.ping() // the will did not come at once, which a delay that wraps would have made it do
	if g := len(w.early); g != 0 {
		t.Errorf("%d messages came", g)
	}
}

// TestFaultF23Panic: a packet that the gateway stumbles over ends its own connection, is counted, and nobody else notices.
func TestFaultF23Panic(t *testing.T) {
	if crashOnPanic {
		t.Skip("check builds end with the process")
	}
	t.Parallel()
	r := start(t, unrecorded)
	w := r.witness()
	c := r.connect(mqtt.V5, "stumbles")
	broken := make(chan struct{})
	r.gw.tellShard(r.gw.home([]byte("stumbles")), func(s *shard) {
		sess := s.table.Get([]byte("stumbles"))
		d := s.devices.At(s.loop.Conn(epoll.Handle(sess.Owner())).Slot())
		d.sess = nil // nothing of a device that is live can do without it
		close(broken)
	})
	<-broken
	if err := c.tryWrite(mqtt.AppendPingreq(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("x")}))); err != nil {
		t.Fatal(err)
	}
	r.eventually("the panic is counted", func() bool { return r.sum().panics == 1 })
	w.check()
}
