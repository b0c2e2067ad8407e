package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// contenderKind is what a contender is compared as.
type contenderKind string

const (
	kindGateway   contenderKind = "gateway"   // Tidegate: a broker, a NATS server and a WebSocket server
	kindBroker    contenderKind = "broker"    // speaks MQTT
	kindWebSocket contenderKind = "websocket" // echoes what a device sends and publishes it to NATS
)

// contender is a server to measure. Its folder, under devices-sim/contenders, holds build.sh and run.sh; README.md there
// is the contract. The gateway has none: it is built from the module around it.
type contender struct {
	name   string
	kind   contenderKind
	folder string
	uplink bool   // a broker that takes NATS clients as well
	stream string // that it stores messages of QoS 1 in before it acknowledges them; "": it does not
	tuned  string // where it is not at its defaults; README.md says why
}

// contenders is the list that --contenders takes.
var contenders = []contender{
	{
		name: "tidegate", kind: kindGateway, uplink: true, stream: "TG_LOG",
		tuned: "queue of 100,000 messages and 64 MiB a session; QoS 1 in memory (`durable.default: memory`) and no records of presence, which the others have not either, but in the durable scenarios; embedded NATS, but for WebSocket devices; these get back what they publish",
	},
	{name: "mosquitto", kind: kindBroker, folder: "mosquitto", tuned: "Nagle off, 1,000 in flight and 100,000 queued a client, no persistence, no $SYS"},
	{
		name: "natsmqtt", kind: kindBroker, folder: "natsmqtt", uplink: true, stream: "$MQTT_msgs",
		tuned: "consumers in memory, 8,192 unacknowledged a subscription, 60 s for JetStream calls; streams in files of a temporary directory",
	},
	{name: "mochi", kind: kindBroker, folder: "mochi", tuned: "receive maximum and in-flight limit 65,535"},
	{name: "aedes", kind: kindBroker, folder: "aedes", tuned: "concurrency 1,000, Nagle off, backlog 4,096, in memory"},
	{name: "node-ws", kind: kindWebSocket, folder: "node-ws", tuned: "no compression, no client tracking, bufferutil, backlog 4,096, one write to NATS a turn"},
	{name: "go-goroutines", kind: kindWebSocket, folder: "go-goroutines", tuned: "1 kB read buffers, pooled write and message buffers"},
	{name: "java-netty", kind: kindWebSocket, folder: "java-netty", tuned: "leak detection off, heap of 256 MB to 2 GB, one flush a read, one write to NATS a turn"},
	{name: "rust-tokio", kind: kindWebSocket, folder: "rust-tokio", tuned: "1 kB read buffers, one write a read, one write to NATS for all that is ready, fat LTO"},
}

// natsHelper is the NATS server beside whatever serves WebSocket devices.
var natsHelper = contender{name: "nats", folder: "nats"}

// pick returns the items of list with the given names in the order of the list; all of them without names.
func pick[T any](flag string, list []T, name func(*T) string, names []string) ([]*T, error) {
	var picked []*T
	var known []string
	for i := range list {
		known = append(known, name(&list[i]))
		if len(names) == 0 || slices.Contains(names, known[i]) {
			picked = append(picked, &list[i])
		}
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("--%s %q: want some of %s", flag, n, strings.Join(known, ","))
		}
	}
	return picked, nil
}

// missingError is a contender that cannot be built before the command has been run.
type missingError struct{ command string }

func (e *missingError) Error() string { return "not installed: " + e.command }

// exitMissing is how a build.sh says that something is not installed; the last line on standard error says what.
const exitMissing = 69

// yard is where contenders are, and where they are built.
type yard struct {
	dir   string // absolute, of the contenders
	build string // absolute, BENCH_BUILD of their scripts
}

// newYard finds the contenders' directory, from the working directory upward when dir is "".
func newYard(dir string) (*yard, error) {
	if dir == "" {
		found, err := findContenders()
		if err != nil {
			return nil, err
		}
		dir = found
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, "lib.sh")); err != nil {
		return nil, fmt.Errorf("--dir %s: want the directory devices-sim/contenders of the sources: %w", dir, err)
	}
	build := os.Getenv("BENCH_BUILD")
	if build == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("BENCH_BUILD is not set: %w", err)
		}
		build = filepath.Join(cache, "tidegate-bench")
	}
	if !filepath.IsAbs(build) {
		return nil, fmt.Errorf("BENCH_BUILD=%s is not an absolute path", build)
	}
	return &yard{dir: dir, build: build}, nil
}

// findContenders looks for the sources in the working directory and those above it.
func findContenders() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		for _, below := range []string{"devices-sim/contenders", "contenders"} {
			dir := filepath.Join(at, below)
			if _, err := os.Stat(filepath.Join(dir, "lib.sh")); err == nil {
				return dir, nil
			}
		}
		up := filepath.Dir(at)
		if up == at {
			return "", errors.New("the contenders are not here: start in the sources of Tidegate, or give --dir …/devices-sim/contenders")
		}
		at = up
	}
}

// make builds a contender and tells its version; a *missingError is one that is not installed. Nothing is downloaded.
func (y *yard) make(ctx context.Context, c *contender) (version string, err error) {
	if c.kind == kindGateway {
		return y.makeGateway(ctx)
	}
	said, text, err := y.command(ctx, filepath.Join(y.dir, c.folder, "build.sh"))
	var exit *exec.ExitError
	switch {
	case err == nil:
		return strings.TrimPrefix(lastLine(said), "version: "), nil
	case errors.As(err, &exit) && exit.ExitCode() == exitMissing:
		return "", &missingError{strings.TrimPrefix(lastLine(text), "missing: ")}
	}
	return "", fmt.Errorf("%s/build.sh: %w\n%s", c.folder, err, text)
}

// makeGateway builds the gateway from the module that the contenders are part of.
func (y *yard) makeGateway(ctx context.Context) (version string, err error) {
	if _, err := exec.LookPath("go"); err != nil {
		return "", &missingError{"Go 1.26 or newer, https://go.dev/dl/"}
	}
	root := filepath.Dir(filepath.Dir(y.dir))
	if _, _, err := y.command(ctx, "go", "-C", root, "list", "-deps", "./cmd/gateway"); err != nil {
		return "", &missingError{"go -C '" + root + "' mod download"}
	}
	if _, text, err := y.command(ctx, "go", "-C", root, "build", "-trimpath", "-o", y.gateway(), "./cmd/gateway"); err != nil {
		return "", fmt.Errorf("go build ./cmd/gateway: %w\n%s", err, text)
	}
	said, text, err := y.command(ctx, y.gateway(), "version")
	if err != nil {
		return "", fmt.Errorf("gateway version: %w\n%s", err, text)
	}
	return lastLine(said), nil
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

func (y *yard) gateway() string { return filepath.Join(y.build, "tidegate", "gateway") }

// command runs a step of a build and returns what it had to say on both of its outputs.
func (y *yard) command(ctx context.Context, name string, args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var said, text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &text
	cmd.Env = append(plainEnv(os.Environ()), "BENCH_BUILD="+y.build, "CGO_ENABLED=0", "GOPROXY=off")
	err = cmd.Run()
	return said.String(), text.String(), err
}

// address is where a server that is started is to listen.
type address struct {
	port     int
	natsPort int    // 0: none
	nats     string // URL of the NATS server to publish to; "" for none
	plain    bool   // devices are plain WebSocket devices
	durable  bool   // what is acknowledged is to be stored
}

// targets is where devices find the server.
func (at address) targets() ([]target, error) {
	if at.plain {
		return parseTargets([]string{fmt.Sprintf("ws://127.0.0.1:%d/ws/", at.port)}, true)
	}
	return parseTargets([]string{fmt.Sprintf("mqtt://127.0.0.1:%d", at.port)}, false)
}

// server is the command that becomes a contender's server.
func (y *yard) server(c *contender, at address) *exec.Cmd {
	if c.kind == kindGateway {
		cmd := exec.Command(y.gateway(), gatewayArgs(at)...)
		cmd.Env = gatewayEnv(os.Environ(), at.durable)
		return cmd
	}
	cmd := exec.Command(filepath.Join(y.dir, c.folder, "run.sh"))
	cmd.Env = append(os.Environ(), "BENCH_BUILD="+y.build, fmt.Sprint("BENCH_PORT=", at.port))
	if at.nats != "" {
		cmd.Env = append(cmd.Env, "BENCH_NATS="+at.nats)
	}
	if at.natsPort != 0 {
		cmd.Env = append(cmd.Env, fmt.Sprint("BENCH_NATS_PORT=", at.natsPort))
	}
	return cmd
}

// gatewayArgs is the gateway on the given ports.
func gatewayArgs(at address) []string {
	scheme, natsListen := "mqtt", ""
	if at.plain {
		scheme = "ws"
	}
	if at.natsPort != 0 {
		natsListen = fmt.Sprint("127.0.0.1:", at.natsPort)
	}
	return []string{
		"--listen", fmt.Sprintf("%s://127.0.0.1:%d", scheme, at.port), "--admin", "", "--log-format", "json",
		"--nats", cmp.Or(at.nats, "embedded"), "--nats-listen", natsListen,
	}
}

// plainEnv leaves out settings of the gateway that happen to stand in the environment.
func plainEnv(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(pair string) bool { return strings.HasPrefix(pair, "GATEWAY_") })
}

// gatewayEnv tunes the gateway for a comparison. Queues are as deep as the other brokers': a publisher is acknowledged
// before the subscriber has read, and one that is late for some milliseconds of a flat-out run is thousands of messages
// behind. Plain devices get the topic back that they publish on: the echo that the others give them, by way of NATS.
// The others acknowledge QoS 1 when they have it in memory, so the gateway does as well, unless what it stores is compared.
func gatewayEnv(environ []string, durable bool) []string {
	environ = append(plainEnv(environ), "GATEWAY_WEBSOCKET_DOWN_TOPIC=devices/{client-id}/up",
		"GATEWAY_SESSION_QUEUE_COUNT_MAX=100000", "GATEWAY_SESSION_QUEUE_BYTES_MAX=67108864")
	if !durable {
		environ = append(environ, "GATEWAY_DURABLE_DEFAULT=memory", "GATEWAY_PRESENCE_RECORDS=false")
	}
	return environ
}

// clusterGateway is a gateway as it is shipped, on a NATS server beside it that others share.
func (y *yard) clusterGateway(name string, port int, nats string) *exec.Cmd {
	cmd := exec.Command(y.gateway(), "--listen", fmt.Sprintf("mqtt://127.0.0.1:%d", port), "--admin", "", "--node", name, "--nats", nats, "--log-format", "json")
	cmd.Env = plainEnv(os.Environ())
	return cmd
}
