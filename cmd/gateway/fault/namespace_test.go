//go:build fault

package fault

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// insideVariable tells the test binary that it runs in a network of its own.
const insideVariable = "FAULT_INSIDE"

// natsHost is the address of NATS inside, on the loopback device of that network.
const natsHost = "10.211.0.1"

// inOwnNetwork runs the calling test again, in a network namespace of its own, and tells whether this is that run. The
// namespace has nothing but a loopback device, and everything in it goes with its last process.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideVariable) != "" {
		run(t, "ip", "link", "set", "lo", "up")
		run(t, "ip", "addr", "add", natsHost+"/32", "dev", "lo")
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("makes network namespaces, which only root may")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip (iproute2)")
	}
	args := []string{"-test.run", "^" + t.Name() + "$", "-test.v"}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), insideVariable+"=1", binariesVariable+"="+binaries)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
	return false
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// island is a gateway in a network of its own, with one line to NATS and another to its devices.
type island struct {
	*gate
}

// The two lines: the device on our side, the one on the gateway's, and the network.
const (
	natsLine, natsLineFar     = "tgn0", "tgn1"
	deviceLine, deviceLineFar = "tgd0", "tgd1"
	natsNet, deviceNet        = "10.211.1", "10.211.2"
)

// newIsland starts the gateway.
func newIsland(t *testing.T, env ...string) *island {
	t.Helper()
	i := &island{newGate(t, "island", deviceNet+".2", append([]string{"GATEWAY_AUTH_ANONYMOUS=anywhere"}, env...)...)}
	i.path = "sh"
	i.args = []string{"-c", `until ip addr show dev ` + deviceLineFar + ` 2>/dev/null | grep -q inet; do sleep 0.05; done; exec "$0"`, gatewayBinary}
	i.attr.Unshareflags = syscall.CLONE_NEWNET
	i.start()
	i.inside(t, "ip", "link", "set", "lo", "up")
	i.connect(t, natsLine, natsLineFar, natsNet)
	i.inside(t, "ip", "route", "add", natsHost, "via", natsNet+".1")
	i.connect(t, deviceLine, deviceLineFar, deviceNet)
	return i
}

func (i *island) connect(t *testing.T, near, far, network string) {
	t.Helper()
	run(t, "ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", fmt.Sprint(i.cmd.Process.Pid))
	run(t, "ip", "addr", "add", network+".1/24", "dev", near)
	run(t, "ip", "link", "set", near, "up")
	i.inside(t, "ip", "link", "set", far, "up")
	i.inside(t, "ip", "addr", "add", network+".2/24", "dev", far)
}

// inside runs a command in the island's network.
func (i *island) inside(t *testing.T, args ...string) {
	t.Helper()
	run(t, "nsenter", append([]string{"-t", fmt.Sprint(i.cmd.Process.Pid), "-n"}, args...)...)
}

// cut takes the line to NATS away: packets vanish, and nobody is told.
func (i *island) cut(t *testing.T) {
	t.Helper()
	run(t, "ip", "link", "set", natsLine, "down")
}

func (i *island) heal(t *testing.T) {
	t.Helper()
	run(t, "ip", "link", "set", natsLine, "up")
}

// slow lets the line to NATS take so many kilobits a second, both ways, and queue for up to a second.
func (i *island) slow(t *testing.T, kbit int) {
	t.Helper()
	shape := []string{"root", "tbf", "rate", fmt.Sprint(kbit, "kbit"), "burst", "16kb", "latency", "1s"}
	run(t, "tc", append([]string{"qdisc", "add", "dev", natsLine}, shape...)...)
	i.inside(t, append([]string{"tc", "qdisc", "add", "dev", natsLineFar}, shape...)...)
}

func (i *island) fast(t *testing.T) {
	t.Helper()
	run(t, "tc", "qdisc", "del", "dev", natsLine, "root")
	i.inside(t, "tc", "qdisc", "del", "dev", natsLineFar, "root")
}
