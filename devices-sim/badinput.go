package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// badInput sends random and mutated packets to every listener of a gateway and looks at what is left of it. Owned by the goroutine of the
// command.
type badInput struct {
	packets     uint64
	connections int
	seed        uint64
	memory      int64
	json        string
	dir         string

	progress io.Writer

	sent, lives, stuck atomic.Uint64
}

func badInputCommand() *cobra.Command {
	b := new(badInput)
	cmd := &cobra.Command{
		Use:   "bad-input",
		Short: "Send random and mutated packets to every listener of a gateway",
		Long: "Builds the gateway, starts it with a listener of every kind, and sends it packets and frames that are wrong or almost right, before\n" +
			"CONNECT and after it: MQTT over TCP, TLS, WebSocket and WebSocket over TLS, plain devices, their commands, HTTP, and TLS. Told is\n" +
			"what is left: panics, and goroutines, descriptors and memory beside those after a twentieth of the packets. Exit code 99: something\n" +
			"of it does not hold. Exit code 1: anything else.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b.progress = cmd.ErrOrStderr()
			return b.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	fs := cmd.Flags()
	fs.Uint64Var(&b.packets, "packets", 10_000_000, "packets, frames and handshakes to send; what follows a packet that ends its connection is not counted")
	fs.IntVar(&b.connections, "connections", 32, "connections at a time")
	fs.Uint64Var(&b.seed, "seed", 1, "of all chance")
	fs.Int64Var(&b.memory, "memory", 32<<20, "bytes by which the gateway may grow at most")
	fs.StringVar(&b.json, "json", "", "write what has to hold, with what was measured, as JSON to this file")
	fs.StringVar(&b.dir, "dir", "", "directory of the contenders (default devices-sim/contenders, here or above)")
	return cmd
}

// run is the whole command.
func (b *badInput) run(ctx context.Context, stdout io.Writer) error {
	if b.packets < 100 || b.connections < 1 || b.memory <= 0 {
		return fmt.Errorf("--packets %d, --connections %d, --memory %d: want at least 100, at least 1, more than 0", b.packets, b.connections, b.memory)
	}
	y, err := newYard(b.dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.progress, "building %s\n", contenders[0].name)
	if _, err := y.makeGateway(ctx); err != nil {
		return err
	}
	g, err := besiege(ctx, y, boundlessConfig)
	if err != nil {
		return err
	}
	list, err := b.measure(ctx, g)
	if err = errors.Join(err, g.stop()); err != nil {
		return err
	}
	writeMusts(stdout, list)
	if b.json != "" {
		text, err := json.MarshalIndent(list, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Clean(b.json), append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if n, unknown := missed(list); n+unknown > 0 {
		return errCrossed
	}
	return nil
}

// measure sends a twentieth, takes stock, sends the rest, and takes stock again.
func (b *badInput) measure(ctx context.Context, g *besieged) ([]must, error) {
	idle, err := g.health(ctx)
	if err != nil {
		return nil, err
	}
	b.send(ctx, g, b.packets/20)
	before, err := g.settled(ctx, &idle)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	b.send(ctx, g, b.packets)
	took := time.Since(begun)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	after, err := g.settled(ctx, &idle)
	if err != nil {
		return nil, err
	}
	sent, lives, grown := b.sent.Load(), b.lives.Load(), after.RSS-before.RSS
	return append(leftovers(&idle, &after),
		held("packets sent", "≥ "+grouped(b.packets), float64(sent), sent >= b.packets, fmt.Sprintf("%s, on %s connections, the last 95 %% in %.0f s", grouped(sent), grouped(lives), took.Seconds())),
		none("connections that did not end", b.stuck.Load(), grouped(b.stuck.Load())),
		held("memory grown by, since a twentieth of it", "≤ "+bytesText(b.memory), float64(grown), grown <= b.memory,
			fmt.Sprintf("%s: %s at the start, then %s, then %s", bytesText(grown), bytesText(idle.RSS), bytesText(before.RSS), bytesText(after.RSS))),
		told("heap, with what is not yet collected", float64(after.Heap), fmt.Sprintf("%s, then %s", bytesText(before.Heap), bytesText(after.Heap))),
	), nil
}

// send sends until so many packets are sent in all.
func (b *badInput) send(ctx context.Context, g *besieged, until uint64) {
	var all sync.WaitGroup
	var t tally
	for i := range b.connections {
		a := &attacker{
			ctx: ctx, rng: rand.New(rand.NewPCG(b.seed+until, uint64(i))), doors: &g.doors, number: i, tally: &t,
			from: net.IPv4(127, 252, 0, byte(1+i%250)),
		}
		all.Go(func() {
			for b.sent.Load() < until && ctx.Err() == nil {
				b.live(a)
				a.life++
			}
		})
	}
	all.Wait()
	b.lives.Add(t.lives.Load())
	fmt.Fprintf(b.progress, "%s packets sent on %s connections\n", grouped(b.sent.Load()), grouped(b.lives.Load()))
}

// live is one connection with its burst. Its end comes after our FIN at the latest, when all that came before has been looked at.
func (b *badInput) live(a *attacker) {
	l, p, n, err := a.burst()
	if err != nil {
		a.rest(defeatPause)
		return
	}
	defer l.end()
	_ = l.SetDeadline(time.Now().Add(linkTime))
	if _, err = l.Write(p); err == nil {
		l.hangUp()
		_, err = io.Copy(io.Discard, l.Conn)
	}
	b.sent.Add(n)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.stuck.Add(1)
	}
}

// burst is a new connection, what to send on it, and how many packets that are.
func (a *attacker) burst() (l *link, p []byte, n uint64, err error) {
	switch a.rng.IntN(20) {
	case 0:
		l, err = a.dial(a.doors.WS)
		return l, append(a.handshake(), a.noise(100)...), 2, err
	case 1:
		l, err = a.dial([...]int{a.doors.MQTTS, a.doors.WSS, a.doors.TLS}[a.rng.IntN(3)])
		return l, a.mutations(clientHello), 1, err
	case 2, 3, 4:
		l, err = a.plain()
		if err == nil {
			p, n = a.frames(l, textCommands, ws.OpText)
		}
		return l, p, n, err
	case 5, 6, 7:
		l, err = a.dial(a.doors.WS)
		if err == nil {
			err = l.upgrade("/ws/"+a.id(), "tidegate.json.v1")
		}
		if err == nil {
			p, n = a.frames(l, textCommands, ws.OpText)
		}
		return l, p, n, err
	}
	ways := 5
	if a.rng.IntN(4) > 0 {
		ways = 3 // handshakes of TLS cost both of us more than all else
	}
	if l, err = a.way(a.rng.IntN(ways)); err != nil {
		return nil, nil, 0, err
	}
	p, n = a.packets()
	if l.framed {
		p = l.chopped(p)
	}
	return l, p, n, nil
}

// burstMax is how many packets come on one connection.
const burstMax = 100

// packets is MQTT: a CONNECT, most often a good one, then mutants until one is malformed, and random bytes now and then.
func (a *attacker) packets() (p []byte, n uint64) {
	v := mqttVersions[a.rng.IntN(len(mqttVersions))]
	if a.rng.IntN(10) == 0 {
		return a.noise(200), 1
	}
	var pkt mqtt.Packet
	if a.rng.IntN(4) == 0 {
		p, n = append(p, a.mutations(corpus[v][0])...), 1
	} else {
		p = append(p, mqtt.AppendConnect(nil, v, &mqtt.ConnectOut{ClientID: []byte(a.id()), CleanStart: true, KeepAliveSec: 60})...)
	}
	for n < burstMax {
		m := mutant(a.rng, v)
		p, n = append(p, m...), n+1
		whole, size, why := mqtt.Next(m, 0)
		if why != mqtt.Success || size != len(m) || mqtt.Decode(whole, v, &pkt) != mqtt.Success || mqtt.ClientFault(&pkt) != mqtt.Success ||
			pkt.Type == mqtt.TypeConnect || pkt.Type == mqtt.TypeDisconnect || pkt.Type == mqtt.TypeAuth {
			break
		}
	}
	return p, n
}

// chopped is MQTT in frames of any size.
func (l *link) chopped(p []byte) (out []byte) {
	for len(p) > 0 {
		n := min(1+l.a.rng.IntN(200), len(p))
		out, p = append(out, l.frame(ws.OpBinary, p[:n])...), p[n:]
	}
	return out
}

// textCommands are what plain devices with a subprotocol say.
var textCommands = []string{
	`{"id":1,"op":"publish","topic":"j/up","qos":1,"json":{"a":[1,2]},"content_type":"c/t","expiry_s":9,"properties":[["k","v"]]}`,
	`{"id":2,"op":"subscribe","filter":"j/+","qos":2,"retain_handling":1}`, `{"id":3,"op":"unsubscribe","filter":"j/+"}`, `{"op":"ack","ack":7}`,
	`[{"id":4,"op":"publish","topic":"j/a","text":"\u00e4"},{"id":5,"op":"ping"}]`, `{"id":6,"op":"request","topic":"j/r","base64":"AP8=","timeout_ms":10}`,
}

// frames is mutated commands in frames of which some are mutated, too.
func (a *attacker) frames(l *link, commands []string, op ws.Op) (p []byte, n uint64) {
	for n < 16 {
		f := l.frame(op, a.mutations([]byte(commands[a.rng.IntN(len(commands))])))
		if a.rng.IntN(10) == 0 {
			p, n = append(p, mutate(a.rng, f, f)...), n+1
			break // nobody knows where the next begins
		}
		p, n = append(p, f...), n+1
	}
	return p, n
}

// handshake is a mutated one.
func (a *attacker) handshake() []byte {
	path := [...]string{"/mqtt", "/ws/x", "/"}[a.rng.IntN(3)]
	return a.mutations(ws.AppendHandshake(nil, "127.0.0.1", path, "mqtt", [16]byte{}, [2]string{"Sec-WebSocket-Extensions", "permessage-deflate"}))
}

// mutations is p with one to four faults, and never empty.
func (a *attacker) mutations(p []byte) []byte {
	m := append([]byte(nil), p...)
	for range 1 + a.rng.IntN(4) {
		m = mutate(a.rng, m, p)
	}
	if len(m) == 0 {
		m = append(m, 0)
	}
	return m
}

// noise is random bytes, at least one.
func (a *attacker) noise(most int) []byte {
	p := make([]byte, 1+a.rng.IntN(most))
	for i := range p {
		p[i] = byte(a.rng.Uint32())
	}
	return p
}
