package main

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// badActor lets a fleet of good devices send to each other in peace, and sets attackers on its gateway meanwhile: one attack after
// the other, with peace between, and in the end all at once. Owned by the goroutine of the command.
type badActor struct {
	devices int
	rate    float64
	qos     uint8
	share   float64
	attacks []string
	each    time.Duration
	rest    time.Duration
	worse   float64
	memory  int64
	json    string
	dir     string

	yard     *yard
	spawn    func() (*worker, error)
	attack   func(s *siege) (*besiegers, error)
	now      clock
	command  []string
	progress io.Writer
}

func badActorCommand() *cobra.Command {
	b := &badActor{spawn: spawn, attack: spawnAttackers, now: monotonic()}
	cmd := &cobra.Command{
		Use:   "bad-actor",
		Short: "Attack a gateway and show that other devices do not notice",
		Long: "Builds the gateway and starts it with bounds as for a public address. Half of the devices send to the other half on a timetable, and\n" +
			"attackers do what they can, one attack after the other with peace between, and in the end all at once. Told is the p99 of the devices\n" +
			"in peace and in each attack, as the median of its seconds, and what the gateway needed. Exit code 99: something was lost, a p99 rose by\n" +
			"more than --worse, or memory was not bounded. Exit code 1: anything else.\n\nAttacks:\n" + attackHelp(),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b.command, b.progress = blotted(os.Args), cmd.ErrOrStderr()
			b.command[0] = filepath.Base(b.command[0]) // a report is read elsewhere
			return b.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&b.devices, "devices", 2000, "number of good devices")
	fs.Float64Var(&b.rate, "rate", 2000, "messages a second, of all of them")
	fs.Uint8Var(&b.qos, "qos", 1, "QoS of their messages")
	fs.Float64Var(&b.share, "bad-share", 0.01, "attackers, as a share of all connections")
	fs.StringSliceVar(&b.attacks, "attacks", nil, "which of those above (default all)")
	fs.DurationVar(&b.each, "each", 10*time.Second, "how long an attack takes, in whole seconds")
	fs.DurationVar(&b.rest, "rest", 3*time.Second, "peace after it, in whole seconds")
	fs.Float64Var(&b.worse, "worse", 0.1, "by what part the p99 may rise")
	fs.Int64Var(&b.memory, "memory", 256<<20, "bytes by which the gateway may grow at most")
	fs.StringVar(&b.json, "json", "", "write what has to hold, with what was measured, as JSON to this file")
	fs.StringVar(&b.dir, "dir", "", "directory of the contenders (default devices-sim/contenders, here or above)")
	return cmd
}

func (b *badActor) validate() error {
	if b.devices < 2 || b.rate <= 0 || b.qos > 2 || b.share <= 0 || b.share >= 1 || b.each < time.Second || b.rest < time.Second || b.worse < 0 || b.memory <= 0 {
		return fmt.Errorf("--devices %d, --rate %v, --qos %d, --bad-share %v, --each %v, --rest %v, --worse %v, --memory %d: want at least 2, more than 0, 0 to 2, between 0 and 1, at least 1s twice, at least 0, more than 0",
			b.devices, b.rate, b.qos, b.share, b.each, b.rest, b.worse, b.memory)
	}
	for _, name := range b.attacks {
		if _, err := findAttack(name); err != nil {
			return err
		}
	}
	if len(b.attacks) == 0 {
		b.attacks = attackNames()
	}
	return nil
}

// run is the whole command.
func (b *badActor) run(ctx context.Context, stdout io.Writer) (err error) {
	if err := b.validate(); err != nil {
		return err
	}
	if b.yard, err = newYard(b.dir); err != nil {
		return err
	}
	fmt.Fprintf(b.progress, "building %s\n", contenders[0].name)
	if _, err := b.yard.makeGateway(ctx); err != nil {
		return err
	}
	g, err := besiege(ctx, b.yard, boundedConfig)
	if err != nil {
		return err
	}
	list, failures, err := b.measure(ctx, g)
	err = errors.Join(err, g.stop())
	if list == nil {
		return err
	}
	writeMusts(stdout, list)
	for _, f := range failures {
		fmt.Fprintln(stdout, "FAILED "+f)
	}
	if b.json != "" {
		text, jsonErr := json.MarshalIndent(list, "", "  ")
		err = errors.Join(err, jsonErr, os.WriteFile(b.json, append(text, '\n'), 0o644))
	}
	n, unknown := missed(list)
	switch {
	case err != nil:
		return err
	case n+unknown+len(failures) > 0:
		return errCrossed
	}
	return nil
}

// measure lets the fleet run and attacks its gateway.
func (b *badActor) measure(ctx context.Context, g *besieged) (list []must, failures []string, err error) {
	r := &runner{o: b.fleet(g), spawn: b.spawn, now: b.now, view: newView(b.progress), settleNanos: settleMax, command: b.command}
	w, err := watch(g.process)
	if err != nil {
		return nil, nil, err
	}
	r.servers = []*watched{w}
	s := &battle{badActor: b, ctx: ctx, gateway: g, runner: r}
	if s.idle, err = g.health(ctx); err != nil {
		return nil, nil, err
	}
	s.plan()
	r.second = s.second
	res, err := r.run(ctx)
	r.view.end()
	if err = errors.Join(err, s.err, s.halt()); err != nil {
		return nil, nil, err
	}
	if s.after, err = g.settled(ctx, &s.idle); err != nil {
		return nil, nil, err
	}
	return s.musts(res), res.Failures, nil
}

// fleet is the good devices: half of them send to the other half until they are told to end.
func (b *badActor) fleet(g *besieged) options {
	targets, err := parseTargets([]string{fmt.Sprintf("mqtt://127.0.0.1:%d", g.doors.MQTT), fmt.Sprintf("ws://127.0.0.1:%d", g.doors.WS)}, false)
	if err != nil {
		panic(err) // they are numbers
	}
	var mark [4]byte
	_, _ = crand.Read(mark[:]) // never fails
	return options{
		Targets: targets, Scenario: "steady", Devices: b.devices / 2 * 2, Publishers: b.devices / 2, Subscribers: b.devices / 2, Rate: b.rate, QoS: b.qos,
		PayloadBytes: benchPayload, ConnectRate: 2000, KeepAliveSec: benchKeepAlive, Version: mqtt.V5, Telemetry: "good/{id}/telemetry", Window: 64,
		Prefix: "good-", Seed: 1, Run: binary.LittleEndian.Uint32(mark[:]),
	}
}

// window is some seconds of a battle, in which the same was done all the time.
type window struct {
	name    string
	attacks []string // none: peace
	seconds int
	p99     []float64 // ms, of each second that counts
	most    int64     // resident bytes
	got     spoils
}

// median is the p99 of the window: that of its middle second, so that one second of somebody else's work on this machine does not decide.
func (w *window) median() float64 { return medianOf(w.p99) }

func medianOf(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	if len(list) == 0 {
		return 0
	}
	return (list[len(list)/2] + list[(len(list)-1)/2]) / 2
}

// battle is one run as it happens. Owned by the runner's goroutine.
type battle struct {
	*badActor
	ctx     context.Context
	gateway *besieged
	runner  *runner

	windows []window
	at      int // window under way
	elapsed int // seconds of it
	sieging *besiegers
	err     error

	idle, before, during, after health // without a connection, with the good ones, the most of any attack, when all have left
}

// plan is peace, then each attack with peace after it, then all of them.
func (s *battle) plan() {
	seconds := func(d time.Duration) int { return int(d / time.Second) }
	peace := func(n int) { s.windows = append(s.windows, window{name: "peace", seconds: n}) }
	peace(2 + seconds(s.rest))
	for _, name := range s.attacks {
		s.windows = append(s.windows, window{name: name, attacks: []string{name}, seconds: seconds(s.each)})
		peace(seconds(s.rest))
	}
	if len(s.attacks) > 1 {
		s.windows = append(s.windows, window{name: "all of them", attacks: s.attacks, seconds: seconds(s.each)})
		peace(seconds(s.rest))
	}
}

// attackers is how many there are in an attack.
func (s *battle) attackers(w *window) int {
	return max(1, len(w.attacks), int(float64(s.devices)*s.share/(1-s.share)+0.5))
}

// second is called with each second of the fleet's run. The first of a window counts for nothing: workers tell of a second when it is over.
func (s *battle) second(now *sample) {
	if now.Stage != sending.String() || s.at >= len(s.windows) || s.err != nil {
		return
	}
	w := &s.windows[s.at]
	if s.elapsed == 0 && s.begin(w) != nil {
		return
	}
	if s.elapsed > 0 && now.LatencyP99 > 0 {
		w.p99 = append(w.p99, now.LatencyP99)
	}
	w.most = max(w.most, now.Servers[0].RSS)
	if s.elapsed++; s.elapsed <= w.seconds {
		return
	}
	s.watch(w)
	if s.err = errors.Join(s.err, s.halt()); s.err != nil {
		s.drain()
		return
	}
	s.elapsed = 0
	if s.at++; s.at == len(s.windows) {
		s.drain()
	}
}

// begin sets the attackers on the gateway.
func (s *battle) begin(w *window) (err error) {
	if s.at == 0 {
		s.before, err = s.gateway.health(s.ctx)
	}
	if len(w.attacks) > 0 && err == nil {
		fmt.Fprintf(s.progress, "%d attackers: %s\n", s.attackers(w), w.name)
		s.sieging, err = s.attack(&siege{Doors: s.gateway.doors, Attacks: w.attacks, Attackers: s.attackers(w), Seed: uint64(s.at)})
	}
	if s.err = err; err != nil {
		s.drain()
	}
	return err
}

// watch notes what the gateway needs at the end of a window of attack.
func (s *battle) watch(w *window) {
	if len(w.attacks) == 0 {
		return
	}
	h, err := s.gateway.health(s.ctx)
	s.err = errors.Join(s.err, err)
	d := &s.during
	d.RSS, d.Heap, d.Descriptors = max(d.RSS, h.RSS, w.most), max(d.Heap, h.Heap), max(d.Descriptors, h.Descriptors)
	d.Goroutines, d.Panics, d.Sockets = max(d.Goroutines, h.Goroutines), max(d.Panics, h.Panics), max(d.Sockets, h.Sockets)
}

// halt ends the attackers that there are.
func (s *battle) halt() error {
	if s.sieging == nil {
		return nil
	}
	s.sieging.end()
	err := <-s.sieging.told
	s.windows[s.at].got = s.sieging.got
	s.sieging = nil
	return err
}

// drain ends the traffic of the fleet.
func (s *battle) drain() { s.err = errors.Join(s.err, s.runner.tell(order{Drain: true})) }

// musts is what has to hold.
func (s *battle) musts(res *result) (list []must) {
	for i := range s.windows {
		w := &s.windows[i]
		if len(w.attacks) == 0 {
			continue
		}
		name, bound := "p99, "+w.name, fmt.Sprintf("≤ %.2f × peace", 1+s.worse)
		calm := medianOf(slices.Concat(s.windows[i-1].p99, s.windows[i+1].p99)) // before it and after it: the machine has its moods
		if len(w.p99) == 0 || calm == 0 {
			list = append(list, notMeasured(name, bound, "no message arrived"))
			continue
		}
		ratio := w.median() / calm
		list = append(list, held(name, bound, ratio, ratio <= 1+s.worse,
			fmt.Sprintf("%.2f × %.2f ms (%s connections, %s failed, %s)", ratio, calm, grouped(w.got.Lives), grouped(w.got.Failed), bytesText(int64(w.got.Bytes)))))
	}
	t := &res.Telemetry
	var lost uint64
	if t.Lost != nil {
		lost = *t.Lost
	}
	grown, left := s.during.RSS-s.before.RSS, s.after.RSS-s.before.RSS
	bound := "≤ " + bytesText(s.memory)
	list = append(list,
		none("messages lost", lost, fmt.Sprintf("%s of %s", grouped(lost), grouped(t.Sent))),
		none("good connections closed", res.closed(), grouped(res.closed())),
		held("memory of the gateway, grown by", bound, float64(grown), grown <= s.memory, fmt.Sprintf("%s, from %s", bytesText(grown), bytesText(s.before.RSS))),
		held("and after it", bound, float64(left), left <= s.memory, bytesText(left)),
		told("heap before, most, after", float64(s.during.Heap), fmt.Sprintf("%s, %s, %s", bytesText(s.before.Heap), bytesText(s.during.Heap), bytesText(s.after.Heap))),
		told("descriptors before, most", float64(s.during.Descriptors), fmt.Sprintf("%d, %d", s.before.Descriptors, s.during.Descriptors)),
		told("goroutines before, most", float64(s.during.Goroutines), fmt.Sprintf("%d, %d", s.before.Goroutines, s.during.Goroutines)),
	)
	return append(list, leftovers(&s.idle, &s.after)...)
}

// closed is how many connections of good devices ended.
func (res *result) closed() (n uint64) {
	for _, k := range res.Closes {
		n += k
	}
	return n
}
