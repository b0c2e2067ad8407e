package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// roomFor bounds the connections of the gateway.
func roomFor(n int) func(c *Config) {
	return func(c *Config) { c.Limits.ConnectionsMax = n }
}

// page is what the admin server answers.
func (r *rig) page(path string) (status int, body string) {
	r.t.Helper()
	resp, err := http.Get(fmt.Sprintf("http://%v%s", r.gw.Addrs().Admin, path))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestFull: a gateway without room tells new devices so, each in the words of its protocol, instead of letting them wait;
// readiness and metrics tell the operator; whoever is connected notices nothing; and the place of one that leaves is
// taken by the next.
func TestFull(t *testing.T) {
	t.Parallel()
	r := start(t, roomFor(4))
	a, b := r.connect(mqtt.V5, r.ids("a", 0, 1)[0]), r.connect(mqtt.V311, r.ids("b", 1, 1)[0])
	b.subscribe(1, "talk/#")
	r.connect(mqtt.V5, "third")
	if status, body := r.page("/readyz?verbose"); status != http.StatusOK || !strings.Contains(body, "[+]connections 3 of 4 connections\n") {
		t.Errorf("%d %s", status, body)
	}
	leaver := r.connect(mqtt.V5, "leaver")
	stop := make(chan struct{})
	var talk sync.WaitGroup
	var said atomic.Int64
	talk.Go(func() { // the devices that are here talk on all the time
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			a.publish(1, "talk/x", fmt.Sprint(i))
			b.gets("talk/x", fmt.Sprint(i))
			said.Add(1)
		}
	})
	refuseAll(t, r)
	if status, body := r.page("/readyz"); status != http.StatusServiceUnavailable || body != "[-]connections full: 4 of 4 connections\nnot ready\n" {
		t.Errorf("%d %q", status, body)
	}
	if status, _ := r.page("/livez"); status != http.StatusOK {
		t.Errorf("/livez %d: a full gateway is well", status)
	}
	if _, body := r.page("/metrics"); !strings.Contains(body, "gateway_connections_max 4\n") ||
		!strings.Contains(body, "gateway_accept_refused_total{reason=\"full\"} 7\n") ||
		!strings.Contains(body, "gateway_accept_refused_total{reason=\"reset\"} 0\n") {
		t.Errorf("metrics:\n%s", body)
	}
	r.closesBy(reasonFull, 0, 7)
	leaver.disconnect()
	r.eventually("it is ready again", func() bool { status, _ := r.page("/readyz"); return status == http.StatusOK })
	r.connect(mqtt.V5, "next").ping()
	close(stop)
	talk.Wait()
	if said.Load() == 0 {
		t.Error("nobody talked")
	}
	r.eventually("the books are right", func() bool { n, full := r.gw.room.state(); return n == 4 && full && r.sockets() == 4 })
	r.nobodyIsRefused()
}

// nobodyIsRefused checks that each loop has counted those whom it refused out again.
func (r *rig) nobodyIsRefused() {
	r.t.Helper()
	for _, s := range r.gw.shards {
		n := make(chan int)
		s.doSoon(func(s *shard) { n <- s.refusing })
		if n := <-n; n != 0 {
			r.t.Errorf("loop %d still counts %d refused connections", s.index, n)
		}
	}
}

// refuseAll has seven devices try to connect to a gateway that is full, three of them with real clients.
func refuseAll(t *testing.T, r *rig) {
	t.Helper()
	refused := func(c *client, reason mqtt.Reason, code byte) {
		t.Helper()
		c.write(c.connectPacket("late"))
		if g := c.expect(mqtt.TypeConnack); g.Reason != reason || g.ReturnCode != code {
			t.Errorf("CONNACK with reason %v, return code %d", g.Reason, g.ReturnCode)
		}
		c.endsWith(mqtt.Success, 0)
	}
	refused(r.open(mqtt.V5, r.mqtt), mqtt.QuotaExceeded, 0)
	refused(r.open(mqtt.V5, r.any), mqtt.QuotaExceeded, 0)
	refused(r.open(mqtt.V311, r.mqtt), mqtt.Success, 3)
	refused(r.open(mqtt.V31, r.mqtt), mqtt.Success, 3)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p := paho.NewClient(paho.ClientConfig{Conn: r.dialReal(r.mqtt), PacketTimeout: patience})
	if ack, err := p.Connect(ctx, &paho.Connect{ClientID: "late", CleanStart: true, KeepAlive: 30}); err == nil || ack == nil || ack.ReasonCode != byte(mqtt.QuotaExceeded) {
		t.Errorf("paho 5: %v, %v", ack, err)
	}
	p3 := paho3.NewClient(paho3.NewClientOptions().AddBroker("tcp://" + r.mqtt).SetClientID("late").SetProtocolVersion(4).SetAutoReconnect(false))
	if err := done(p3.Connect()); !errors.Is(err, packets.ErrorRefusedServerUnavailable) {
		t.Errorf("paho 3: %v", err)
	}
	_, resp, err := websocket.Dial(ctx, "ws://"+r.ws+"/mqtt", &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	if err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("WebSocket: %v, %v", resp, err)
	}
}

// TestFullAndSilent: connections that a full gateway refuses and that say nothing are few and gone soon; those beyond the
// reserve are reset at once. Nobody is left in a queue.
func TestFullAndSilent(t *testing.T) {
	t.Parallel()
	r := start(t, roomFor(2), func(c *Config) { c.Loops, c.Limits.ConnectTime = 1, time.Hour })
	keeper, other := r.connect(mqtt.V5, "keeper"), r.connect(mqtt.V5, "other")
	most := r.gw.refusalsMax
	var silent []net.Conn
	resets := 0
	for range most + 20 {
		c, err := net.DialTimeout("tcp", r.mqtt, patience)
		switch {
		case err == nil:
			silent = append(silent, c)
		case errors.Is(err, syscall.ECONNRESET):
			resets++
		default:
			t.Fatal(err)
		}
	}
	r.eventually("all are accepted", func() bool { s := r.sum(); return s.turnedAway[turnedFull] == uint64(most) && s.loop.Refused == 20 })
	for _, c := range silent {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		_, err := c.Read(make([]byte, 1))
		switch {
		case errors.Is(err, syscall.ECONNRESET):
			resets++
		case !errors.Is(err, io.EOF):
			t.Fatalf("not closed: %v", err)
		}
		c.Close()
	}
	if resets != 20 {
		t.Errorf("%d resets", resets)
	}
	r.eventually("they are gone", func() bool { return r.sockets() == 2 })
	keeper.ping()
	polite := r.open(mqtt.V5, r.mqtt)
	polite.write(polite.connectPacket("late"))
	if g := polite.expect(mqtt.TypeConnack); g.Reason != mqtt.QuotaExceeded {
		t.Errorf("CONNACK %v", g.Reason)
	}
	polite.conn.Close()
	other.disconnect()
	r.eventually("its place is free", func() bool { return r.sockets() == 1 })
	r.connect(mqtt.V5, "next").ping()
	if n := r.sum().opened; n != uint64(most)+4 {
		t.Errorf("%d opened", n)
	}
}

// TestFullBesideOthers: of two gateways on one port one is full. It goes on answering its part of the new devices, and each
// gets in after a few attempts, as the other's part; the connected ones notice nothing.
func TestFullBesideOthers(t *testing.T) {
	t.Parallel()
	const devices = 60
	s := bustest.Start(t)
	shared := func(c *Config) { c.NATS.URL, c.SharePort = s.URL(), true }
	a := start(t, shared, roomFor(10))
	b := start(t, shared, func(c *Config) { c.Listeners[2] = "any://" + a.any })
	meet(a, b)
	var all []*client
	attempts := 0
	for i := range devices {
		for try := 0; ; try++ {
			c := a.open(mqtt.V5, a.any)
			c.write(c.connectPacket(fmt.Sprint("dev-", i)))
			attempts++
			g := c.expect(mqtt.TypeConnack)
			if g.Reason == mqtt.Success {
				all = append(all, c)
				break
			}
			if g.Reason != mqtt.QuotaExceeded || try > 30 {
				t.Fatalf("attempt %d: %v", try, g.Reason)
			}
			c.conn.Close()
		}
	}
	t.Logf("%d attempts for %d devices", attempts, devices)
	for _, c := range all {
		c.ping()
	}
	if x, y := a.sum().sessionsLive, b.sum().sessionsLive; x != 10 || y != devices-10 {
		t.Errorf("%d and %d devices", x, y)
	}
}

// TestReadyAgain: a full gateway counts as full until a hundredth is free, so that a load balancer sees no flapping.
func TestReadyAgain(t *testing.T) {
	x := room{max: 200}
	for range 200 {
		if !x.enter() {
			t.Fatal("no room")
		}
	}
	if x.enter() {
		t.Fatal("one too many")
	}
	for _, want := range []bool{true, false} { // one is not enough, two are
		x.leave()
		if _, full := x.state(); full != want {
			t.Errorf("full: %v at %d", full, x.open.Load())
		}
	}
	x.enter()
	if open, full := x.state(); full || open != 199 {
		t.Errorf("full: %v at %d", full, open)
	}
}

// TestRoomOfMany: many come and go at once, to two loops, and the books are right.
func TestRoomOfMany(t *testing.T) {
	t.Parallel()
	r := start(t, roomFor(10))
	var storm sync.WaitGroup
	var served, refused atomic.Int64
	for w := range 8 {
		storm.Go(func() {
			for i := range 60 {
				c := r.open(mqtt.V5, r.mqtt)
				c.write(c.connectPacket(fmt.Sprint("many", w, "-", i%7)))
				g, err := c.next()
				switch {
				case err != nil: // reset, or taken over
				case g.Type == mqtt.TypeConnack && g.Reason == mqtt.Success:
					served.Add(1)
				case g.Type == mqtt.TypeConnack && g.Reason == mqtt.QuotaExceeded:
					refused.Add(1)
				default:
					t.Errorf("%v %v", g.Type, g.Reason)
				}
				if i%2 == 0 {
					c.reset()
				} else if err == nil {
					go c.conn.Close()
				}
			}
		})
	}
	storm.Wait()
	r.eventually("all are gone", func() bool { n, full := r.gw.room.state(); return n == 0 && !full && r.sockets() == 0 })
	t.Logf("%d served, %d refused", served.Load(), refused.Load())
	if served.Load() == 0 {
		t.Error("nobody was served")
	}
}

// TestDrainAnswersTheBacklog: who waits in the accept queue of a gateway that begins to drain is told to go elsewhere, not
// reset.
func TestDrainAnswersTheBacklog(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Loops = 1 })
	begun, dialled, emptied := make(chan struct{}), make(chan struct{}), make(chan struct{})
	r.gw.shards[0].doSoon(func(s *shard) {
		close(begun) // from here on the loop accepts nobody
		<-dialled
		var everybody atomic.Int64
		everybody.Store(100)
		s.drain(&everybody)
		close(emptied)
	})
	<-begun
	v5, v311, framed := r.open(mqtt.V5, r.mqtt), r.open(mqtt.V311, r.mqtt), r.open(mqtt.V5, r.ws)
	close(dialled)
	<-emptied
	v5.write(v5.connectPacket("late"))
	if g := v5.expect(mqtt.TypeConnack); g.Reason != mqtt.ServerUnavailable {
		t.Errorf("CONNACK %v", g.Reason)
	}
	v311.write(v311.connectPacket("late"))
	if g := v311.expect(mqtt.TypeConnack); g.ReturnCode != 3 {
		t.Errorf("return code %d", g.ReturnCode)
	}
	framed.framed = true
	framed.write(ws.AppendHandshake(nil, r.ws, "/mqtt", "mqtt", testKey))
	if status := framed.handshaken("mqtt"); status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
	for _, c := range []*client{v5, v311, framed} {
		c.conn.Close()
	}
	if n := r.sum().turnedAway[turnedDraining]; n != 3 {
		t.Errorf("%d were told", n)
	}
}

// TestReserve: what is kept for other things than devices, and that there is something left.
func TestReserve(t *testing.T) {
	for _, c := range []struct{ limit, loops, listeners, kept, refusals int }{
		{256, 2, 2, 64 + 18, 4 + 16}, {20_000, 2, 2, 200 + 18, 4 + 50}, {1 << 20, 64, 1, 10485 + 512, 4 + 81},
	} {
		if kept, refusals := reserve(c.limit, c.loops, c.listeners); kept != c.kept || refusals != c.refusals {
			t.Errorf("%+v: %d kept, %d for refusals", c, kept, refusals)
		}
	}
}
