package main

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// headline is what the gateway is there for, shown by one command: several processes behind one port carry a fleet of
// every kind of device for a while, and then take all of it back at once. Owned by the goroutine of the command.
type headline struct {
	gateways, loops int
	devices, quiet  int
	workers         int
	rate            float64
	qos             uint8
	connectRate     float64
	keepAlive       time.Duration
	duration        time.Duration
	afterStorm      time.Duration // how long the fleet goes on sending when all are back
	subscribe       string
	nodeDevices     int
	seed            uint64
	dir             string
	reports         reports

	yard    *yard
	spawn   func() (*worker, error)
	now     clock
	command []string
	errOut  io.Writer
	mark    uint32 // marks the payloads
}

// stormMax is how long a storm is watched before it is given up.
const stormMax = time.Minute

func headlineCommand() *cobra.Command {
	h := &headline{spawn: spawn, now: monotonic(), afterStorm: 5 * time.Second}
	cmd := &cobra.Command{
		Use:   "headline",
		Short: "Show that seven gateways carry 120,000 devices, and survive all of them at once",
		Long: "Builds the gateway, starts several processes of it on one port with one NATS server beside them, and lets a fleet loose on them:\n" +
			"a third of the devices speak MQTT, a third MQTT over WebSocket, a third plain WebSocket. For --duration they send, each now and\n" +
			"then, and a subscriber on NATS checks every message; then all connections drop at once and return. What has to hold is told\n" +
			"with what was measured. Exit code 99: something of it did not hold. Exit code 1: anything else that went wrong.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h.command, h.errOut = blotted(os.Args), cmd.ErrOrStderr()
			h.command[0] = filepath.Base(h.command[0]) // a report is read elsewhere
			return h.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&h.gateways, "gateways", 7, "processes that share the port")
	fs.IntVar(&h.loops, "loops", 0, "event loops of each; 0: its default")
	fs.IntVar(&h.devices, "devices", 120_000, "number of devices")
	fs.IntVar(&h.quiet, "quiet", -1, "devices of these that never send and live on keep-alive (default a tenth)")
	fs.IntVar(&h.workers, "workers", 0, fmt.Sprintf("processes of the fleet (default one for each %d devices)", devicesPerWorker))
	fs.Float64Var(&h.rate, "rate", 12_000, "messages a second, of the whole fleet")
	fs.Uint8Var(&h.qos, "qos", 1, "QoS of the MQTT devices' messages: 0, 1 or 2; plain devices have none")
	fs.Float64Var(&h.connectRate, "connect-rate", 10_000, "first connections a second, of the whole fleet")
	fs.DurationVar(&h.keepAlive, "keepalive", 60*time.Second, "MQTT keep-alive")
	fs.DurationVar(&h.duration, "duration", 10*time.Minute, "how long to send before the storm")
	fs.StringVar(&h.subscribe, "subscribe", "devices/{id}/cmd", "topic filter of each MQTT device, or none")
	fs.IntVar(&h.nodeDevices, "node-devices", 10_000, "idle WebSocket devices to measure the memory of Node.js with; 0: do not")
	fs.Uint64Var(&h.seed, "seed", 1, "of all chance")
	fs.StringVar(&h.dir, "dir", "", "directory of the contenders (default devices-sim/contenders, here or above)")
	h.reports.flags(fs)
	return cmd
}

// run is the whole command.
func (h *headline) run(ctx context.Context, stdout io.Writer) (err error) {
	if err := h.prepare(ctx); err != nil {
		return err
	}
	node := h.node(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	res, err := h.measure(ctx)
	if res == nil {
		return err
	}
	res.Musts = h.musts(res, node)
	out := stdout
	if h.reports.toStdout() {
		out = h.errOut
	}
	res.text(out)
	fmt.Fprintln(out)
	writeMusts(out, res.Musts)
	if err = errors.Join(err, h.reports.write(stdout, res)); err != nil {
		return err
	}
	switch n, _ := missed(res.Musts); {
	case n > 0:
		return errCrossed
	case !res.Passed:
		return errBroken
	}
	return nil
}

// prepare checks what was asked and builds what is needed.
func (h *headline) prepare(ctx context.Context) (err error) {
	if h.quiet < 0 {
		h.quiet = h.devices / 10
	}
	if h.gateways < 1 || h.duration <= 0 || h.loops < 0 {
		return fmt.Errorf("--gateways %d, --loops %d, --duration %v: want at least 1, at least 0, more than 0", h.gateways, h.loops, h.duration)
	}
	if h.keepAlive < 2*time.Second || h.keepAlive > 0xFFFF*time.Second || h.keepAlive%time.Second != 0 {
		return fmt.Errorf("--keepalive %v: want whole seconds from 2s to 65535s", h.keepAlive)
	}
	if h.subscribe == "none" {
		h.subscribe = ""
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	if room := files.Max / 10 * 9; uint64(h.devices/h.gateways) > room {
		return fmt.Errorf("--devices %d on %d --gateways: a process may have %d descriptors, so let it have %d devices at most",
			h.devices, h.gateways, files.Max, room)
	}
	if h.yard, err = newYard(h.dir); err != nil {
		return err
	}
	var chance [4]byte
	_, _ = crand.Read(chance[:]) // never fails
	h.mark = binary.LittleEndian.Uint32(chance[:])
	o := h.options([]target{{}})
	if err := o.validate(); err != nil {
		return err
	}
	for _, c := range []*contender{{name: "tidegate", kind: kindGateway}, &natsHelper} {
		fmt.Fprintf(h.errOut, "building %s\n", c.name)
		if _, err := h.yard.make(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// options is the run of the fleet.
func (h *headline) options(to []target) options {
	return options{
		Targets: to, Scenario: "reconnect-storm", StormAfter: h.duration, Duration: h.duration + stormMax,
		Devices: h.devices, Publishers: h.devices - h.quiet, Workers: h.workers, Rate: h.rate, QoS: h.qos, PayloadBytes: benchPayload,
		ConnectRate: h.connectRate, KeepAliveSec: uint16(h.keepAlive / time.Second), Version: mqtt.V311,
		Telemetry: "devices/{id}/telemetry", Subscribe: h.subscribe, Window: 16, Prefix: "sim-", Seed: h.seed, Run: h.mark,
	}
}

// measure starts the servers, lets the fleet loose on them, and ends them.
func (h *headline) measure(ctx context.Context) (res *result, err error) {
	servers, err := newRack()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, servers.stop()) }()
	var ports [2]int
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	nats := fmt.Sprintf("nats://127.0.0.1:%d", ports[1])
	if err := servers.start(ctx, natsHelper.name, h.yard.server(&natsHelper, address{port: ports[1]})); err != nil {
		return nil, err
	}
	for i := range h.gateways {
		name := fmt.Sprintf("gateway-%d", i+1)
		if err := servers.start(ctx, name, h.gateway(name, ports[0], nats)); err != nil {
			return nil, err
		}
		h.introduce(servers.servers[i+1])
	}
	targets, err := parseTargets([]string{fmt.Sprintf("any://127.0.0.1:%d", ports[0])}, true)
	if err != nil {
		return nil, err
	}
	r := &runner{
		o: h.options(targets), spawn: h.spawn, now: h.now, view: newView(h.errOut), settleNanos: settleMax, afterStorm: h.afterStorm,
		verifyURL: nats, command: h.command, profile: "headline",
	}
	if r.servers, err = servers.watch(); err != nil { // the gateways, then NATS
		return nil, err
	}
	res, err = r.run(ctx)
	r.view.end()
	return res, err
}

// gateway is the command that becomes one of the processes: as it is shipped, but for where it listens.
func (h *headline) gateway(name string, port int, nats string) *exec.Cmd {
	args := []string{
		"--listen", fmt.Sprintf("any://127.0.0.1:%d", port), "--admin", "127.0.0.1:0", "--node", name, "--nats", nats, "--log-format", "json",
		"--loops", fmt.Sprint(h.loops),
	}
	if h.gateways > 1 {
		args = append(args, "--share-port")
	}
	cmd := exec.Command(h.yard.gateway(), args...)
	cmd.Env = plainEnv(os.Environ())
	return cmd
}

// introduce tells where a gateway can be asked how it is doing.
func (h *headline) introduce(s *benchServer) {
	var ready struct {
		Admin string `json:"admin"`
	}
	if err := json.Unmarshal([]byte(s.ready), &ready); err == nil {
		fmt.Fprintf(h.errOut, "%s: pid %d, %s/metrics\n", s.name, s.cmd.Process.Pid, ready.Admin)
	}
}

// nodeMemory is what a connection costs Node.js; why says why that is not known.
type nodeMemory struct {
	bytes float64
	why   string
}

// node measures the memory of an idle WebSocket device in Node.js, as the bench does.
func (h *headline) node(ctx context.Context) nodeMemory {
	if h.nodeDevices == 0 {
		return nodeMemory{why: "--node-devices 0"}
	}
	picked, err := pick("contenders", contenders, func(c *contender) string { return c.name }, []string{"node-ws"})
	if err != nil {
		return nodeMemory{why: err.Error()}
	}
	node := picked[0]
	fmt.Fprintf(h.errOut, "building %s\n", node.name)
	var missing *missingError
	if _, err := h.yard.make(ctx, node); errors.As(err, &missing) {
		return nodeMemory{why: node.name + " is not installed; this installs it: " + missing.command}
	} else if err != nil {
		return nodeMemory{why: err.Error()}
	}
	fmt.Fprintf(h.errOut, "measuring the memory of %s idle devices in Node.js\n", grouped(uint64(h.nodeDevices)))
	b := &bench{duration: benchIdleHold, yard: h.yard, spawn: h.spawn, now: h.now, command: h.command, mark: h.mark + 1}
	t := b.trial(ctx, &benchScenario{far: farEcho, idle: [2]int{max(1, h.nodeDevices/4), h.nodeDevices}, window: 1}, node, 0)
	if why := cmp.Or(t.Error, firstOf(t.Wrong)); why != "" {
		return nodeMemory{why: why}
	}
	return nodeMemory{bytes: t.Figures["rss_per_connection"]}
}

func firstOf(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
