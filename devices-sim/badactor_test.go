package main

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tidegate/tidegate/gateway"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// besiegedHere is a gateway in the process of the test, with all kinds of listeners and the bounds of bad-actor.
func besiegedHere(t *testing.T, bounded bool) *besieged {
	t.Helper()
	dir := t.TempDir()
	if err := writeCertificate(dir); err != nil {
		t.Fatal(err)
	}
	c := gateway.Default()
	c.Loops, c.Data, c.Admin, c.NATS.Listen = 2, dir, "127.0.0.1:0", ""
	c.Listeners = []string{"mqtt://127.0.0.1:0", "ws://127.0.0.1:0", "any://127.0.0.1:0", "mqtts://127.0.0.1:0", "wss://127.0.0.1:0", "tls://127.0.0.1:0"}
	c.TLS.Certificates = []gateway.TLSCertificate{{Cert: filepath.Join(dir, "server.pem"), Key: filepath.Join(dir, "server.key")}}
	c.WebSocket.Compression, c.Durable.Default, c.Presence.Records, c.Bans.Shared = true, "memory", false, false
	c.Drain.Rate, c.MQTT.SysInterval = 0, 0
	if bounded {
		c.MQTT.WildcardDepthMin, c.MQTT.RetainedMax = 1, 1000
		c.Limits.PacketRate, c.Limits.ByteRate, c.Limits.RateBurst = 200, 256<<10, time.Second
		c.Limits.ConnectTime, c.Limits.PacketTime, c.Limits.StallTime = 2*time.Second, 2*time.Second, 2*time.Second
	}
	g, err := gateway.New(c, zerolog.New(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	var ports [6]int
	for i, l := range g.Addrs().Listeners {
		ports[i] = int(netip.MustParseAddrPort(l.Addr.String()).Port())
	}
	return &besieged{
		doors: doors{ports[0], ports[1], ports[2], ports[3], ports[4], ports[5]}, admin: g.Addrs().Admin.String(), process: os.Getpid(), settle: 20 * time.Second,
		stop: func() error { return nil },
	}
}

// attackHere is spawnAttackers in this process.
func attackHere(s *siege) (*besiegers, error) {
	ctx, stop := context.WithCancel(context.Background())
	b := &besiegers{end: stop, told: make(chan error, 1)}
	go func() {
		var err error
		b.got, err = runSiege(ctx, s)
		b.told <- err
	}()
	return b, nil
}

// TestAttacks: each attack gets through to the gateway, again and again, and a good device is served meanwhile; nothing of any of them is left.
func TestAttacks(t *testing.T) {
	g := besiegedHere(t, true)
	idle, err := g.health(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	good := &attacker{ctx: t.Context(), doors: &g.doors, from: net.IPv4(127, 0, 0, 1), tally: new(tally)}
	l, err := good.dial(g.doors.MQTT)
	if err != nil {
		t.Fatal(err)
	}
	defer l.end()
	if err := l.connect("good"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, l, connackRest(t, g)); err != nil {
		t.Fatal(err)
	}
	for _, k := range attacks {
		b, err := attackHere(&siege{Doors: g.doors, Attacks: []string{k.name}, Attackers: 4, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			wait(t.Context(), 20*time.Millisecond)
			began := time.Now()
			l.pings(t, k.name)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s: PINGRESP after %v", k.name, took)
			}
		}
		b.end()
		if err := <-b.told; err != nil || b.got.Lives == 0 {
			t.Errorf("%s: %v, %+v", k.name, err, b.got)
		}
	}
	l.end()
	after, err := g.settled(t.Context(), &idle)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, leftovers(&idle, &after))
}

// connackRest is how many bytes of CONNACK link.connect leaves unread.
func connackRest(t *testing.T, g *besieged) int64 {
	t.Helper()
	c, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(g.doors.MQTT)).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(mqtt.AppendConnect(nil, mqtt.V5, &mqtt.ConnectOut{ClientID: []byte("size"), CleanStart: true, KeepAliveSec: 60})); err != nil {
		t.Fatal(err)
	}
	var p []byte
	for {
		var some [512]byte
		n, err := c.Read(some[:])
		if err != nil {
			t.Fatal(err)
		}
		p = append(p, some[:n]...)
		if whole, _, _ := mqtt.Next(p, 0); whole != nil {
			return int64(len(whole)) - 4
		}
	}
}

// pings sends PINGREQ and waits for its answer.
func (l *link) pings(t *testing.T, during string) {
	t.Helper()
	_ = l.SetDeadline(time.Now().Add(20 * time.Second))
	var answer [2]byte
	_, err := l.Write(mqtt.AppendPingreq(nil))
	if err == nil {
		_, err = io.ReadFull(l, answer[:])
	}
	if err != nil || answer != [2]byte{0xd0, 0} {
		t.Fatalf("%s: %v, %x", during, err, answer)
	}
}

// holds fails with what does not hold.
func holds(t *testing.T, list []must) {
	t.Helper()
	for _, m := range list {
		if v := m.Verdict(); v == "MISSED" || v == "unknown" {
			t.Errorf("%s: must %s, measured %s", m.Name, m.Bound, m.Measured)
		}
	}
}

// TestBadInput: the command's measurement, small: nothing panics and nothing is left.
func TestBadInput(t *testing.T) {
	g := besiegedHere(t, false)
	b := &badInput{packets: 4000, connections: 8, seed: 3, memory: 256 << 20, progress: io.Discard}
	list, err := b.measure(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, list)
}

// TestBadActor: the command's measurement, small: windows of peace and of attack, nothing lost, and a figure for each.
func TestBadActor(t *testing.T) {
	t.Parallel()
	b := &badActor{
		devices: 20, rate: 200, qos: 1, share: 0.2, attacks: []string{"ping-flood"}, rounds: 2, each: sampleEvery, rest: sampleEvery, worse: 1000, memory: 1 << 40,
		spawn: inProcess, attack: attackHere, now: monotonic(), progress: io.Discard,
	}
	if err := b.validate(); err != nil {
		t.Fatal(err)
	}
	g := besiegedHere(t, false)
	g.settle = time.Second // other tests run beside it, so what is left says nothing
	list, failures, err := b.measure(t.Context(), g)
	if err != nil || len(failures) > 0 {
		t.Fatal(err, failures)
	}
	var figures []string
	for _, m := range list {
		figures = append(figures, m.Name)
		if m.Verdict() == "MISSED" && !strings.Contains(m.Name, "at the start") {
			t.Errorf("%s: %s", m.Name, m.Measured)
		}
	}
	if !strings.Contains(strings.Join(figures, "; "), "p99, ping-flood") {
		t.Error(figures)
	}
}

// TestMutants: of the mutants some are still packets, and most are not.
func TestMutants(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	var pkt mqtt.Packet
	well := 0
	for range 10_000 {
		m := mutant(rng, mqtt.V5)
		if whole, n, _ := mqtt.Next(m, 0); n == len(m) && n > 0 && mqtt.Decode(whole, mqtt.V5, &pkt) == mqtt.Success {
			well++
		}
	}
	if well < 500 || well > 6000 {
		t.Errorf("%d of 10000 mutants are well-formed", well)
	}
}

// TestJudged: a figure is met or missed only where the machine was quiet enough to tell.
func TestJudged(t *testing.T) {
	for _, c := range []struct {
		ratios, moods []float64
		want          string
	}{
		{[]float64{0.9, 1.05, 1.2}, []float64{1.1, 1.2, 1.3}, "met"},
		{[]float64{1.4, 1.5, 1.6}, []float64{1.1, 1.2, 1.3}, "MISSED"},
		{[]float64{1, 1.5, 1.6}, []float64{1.1, 1.2, 1.3}, "unknown"},    // not in every round
		{[]float64{1.2, 1.25, 1.3}, []float64{1.1, 1.4, 1.5}, "unknown"}, // the peaces differ by more
		{[]float64{0.9, 0.9, 0.9}, []float64{2, 2.5, 3}, "unknown"},
		{[]float64{0.9, 0.9}, []float64{1, 1}, "unknown"}, // no message in one round
	} {
		f := &figure{ratios: c.ratios, moods: c.moods, calm: c.ratios, whole: c.ratios}
		if got := f.judged("x", 3, 0.1).Verdict(); got != c.want {
			t.Errorf("%v, %v: %s, want %s", c.ratios, c.moods, got, c.want)
		}
	}
}
