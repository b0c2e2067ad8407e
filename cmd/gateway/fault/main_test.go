//go:build fault

// Package fault kills, freezes, starves and cuts off the processes that a gateway lives with, and counts what becomes of
// the messages. It starts real ones: nats-server (of the version in go.mod), the gateway's binary, and devices over
// real sockets.
//
//	go test -tags fault -timeout 60m ./cmd/gateway/fault            everything
//	go test -tags fault -short ./cmd/gateway/fault                  what .ci/run does
//	FAULT_KILLS=200 go test -tags fault -run TestKill -v ./cmd/gateway/fault
//
// The devices have a codec and a state machine of their own (wire_test.go, device_test.go): a checker that shares code
// with the server shares its mistakes.
package fault

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// The binaries, built once for all tests into one directory.
var binaries, gatewayBinary, natsBinary string

// binariesVariable hands the directory to a test binary that another one runs.
const binariesVariable = "FAULT_BINARIES"

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	binaries = os.Getenv(binariesVariable)
	ours := binaries == ""
	if ours {
		var err error
		if binaries, err = os.MkdirTemp("", "fault-bin-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(binaries)
	}
	gatewayBinary, natsBinary = filepath.Join(binaries, "gateway"), filepath.Join(binaries, "nats-server")
	if ours && !(build(gatewayBinary, "github.com/tidegate/tidegate/cmd/gateway") && build(natsBinary, "github.com/nats-io/nats-server/v2")) {
		return 1
	}
	return m.Run()
}

func build(path, pkg string) bool {
	out, err := exec.Command("go", "build", "-o", path, pkg).CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "go build %s: %v\n%s", pkg, err, out)
	}
	return err == nil
}

// size is a number of a test: what the variable says, else short or full.
func size(t *testing.T, variable string, full, short int) int {
	t.Helper()
	if text := os.Getenv(variable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			t.Fatalf("%s=%s is not a number", variable, text)
		}
		return n
	}
	if testing.Short() {
		return short
	}
	return full
}

// chance is the test's source of randomness; the seed is printed, and FAULT_SEED repeats it.
func chance(t *testing.T) *rand.Rand {
	t.Helper()
	seed := size(t, "FAULT_SEED", 0, 0)
	if seed == 0 {
		seed = int(time.Now().UnixNano() & 0xffffffff)
	}
	t.Logf("FAULT_SEED=%d", seed)
	return rand.New(rand.NewPCG(uint64(seed), 0))
}

// needs skips a test that does not fit into what -timeout leaves: ended by it, go test would show nothing of the others.
func needs(t *testing.T, atMost time.Duration) {
	t.Helper()
	if end, ok := t.Deadline(); ok && time.Until(end) < atMost {
		t.Skipf("takes up to %v, and -timeout leaves %v: go test -tags fault -timeout 60m", atMost, time.Until(end).Round(time.Second))
	}
}

// long skips a test that the shorter part leaves out.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("not in the shorter part")
	}
}

// eventually waits until ok holds.
func eventually(t *testing.T, atMost time.Duration, what string, ok func() bool) {
	t.Helper()
	if !within(atMost, ok) {
		t.Fatalf("not after %v: %s", atMost, what)
	}
}

func within(atMost time.Duration, ok func() bool) bool {
	for end := time.Now().Add(atMost); ; time.Sleep(50 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}
