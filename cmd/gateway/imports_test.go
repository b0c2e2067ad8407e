package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tidegate/tidegate"

type rule struct {
	pkg     string
	ours    []string
	outside []string
	std     []string // forbidden
	why     string
}

// house is the import table of docs/ARCHITECTURE.md. ours and outside are everything a package may import besides the
// standard library; std lists what it may not take even from there. Each line says why.
var house = []rule{
	{
		pkg: "epoll", ours: []string{"epoll/record"}, outside: []string{"golang.org/x/sys/unix"}, std: logging,
		why: "epoll moves bytes, through TLS if need be; a protocol or a log line in a loop would have to be paid by every connection",
	},
	{
		pkg: "epoll/record", outside: []string{"golang.org/x/crypto/chacha20poly1305"}, std: slices.Concat(clocks, sockets, logging, []string{"sync", "sync/atomic", "context", "crypto/tls"}),
		why: "records are bytes in, bytes out, so that they can be cut, changed and compared with crypto/tls; that one keeps its CHACHA20-POLY1305 to itself, x/crypto has the same code",
	},
	{
		pkg: "gateway/mqtt", std: slices.Concat(clocks, sockets, logging),
		why: "a codec is bytes in, bytes out: with a clock or a socket it could not be cut at every byte and fuzzed",
	},
	{
		pkg: "gateway/ws", outside: []string{"github.com/gobwas/ws"}, std: slices.Concat(clocks, []string{"net", "os", "syscall"}, logging),
		why: "a codec is bytes in, bytes out; gobwas gives it the handshake and the RFC's rules, net/http the names of statuses",
	},
	{
		pkg: "gateway/auth/acl", outside: []string{"github.com/goccy/go-yaml"}, std: slices.Concat(clocks, sockets, logging),
		why: "what somebody may do follows from rules alone, so that a check costs no more than looking at them; go-yaml reads them as it reads the configuration, with the place of each",
	},
	{
		pkg: "gateway/auth", ours: []string{"gateway/auth/acl"}, outside: []string{"github.com/xdg-go/scram", "github.com/golang-jwt/jwt/v5", "golang.org/x/crypto/argon2", "golang.org/x/crypto/bcrypt"},
		std: slices.Concat(clocks, sockets, logging),
		why: "who somebody is follows from what they say: files, sockets and clocks are for those who ask; xdg-go has kept SCRAM for MongoDB for years, golang-jwt tokens for everybody, and x/crypto hashes what the standard library does not",
	},
	{
		pkg: "gateway/proxy", std: slices.Concat(clocks, sockets, logging),
		why: "a codec is bytes in, bytes out: with a socket it could not be cut at every byte and fuzzed",
	},
	{
		pkg: "gateway/auth/chain", ours: []string{"gateway/auth"}, std: slices.Concat(logging, []string{"os", "syscall"}),
		why: "it asks providers beside the loops, so it has clocks and HTTP; NATS and files it is given as functions",
	},
	{
		pkg: "gateway/command", outside: []string{"github.com/fxamacker/cbor/v2"}, std: slices.Concat(clocks, sockets, logging),
		why: "a codec is bytes in, bytes out: with a clock or a socket it could not be fuzzed",
	},
	{
		pkg: "session", std: slices.Concat(clocks, sockets, logging, []string{"sync", "sync/atomic", "context", "math/rand", "math/rand/v2"}),
		why: "a session is a pure state machine: time, chance and connections are arguments, and one loop owns it",
	},
	{
		pkg: "bus", outside: []string{"github.com/nats-io/nats.go", "github.com/nats-io/nats-server/v2", "github.com/nats-io/nkeys"},
		std: logging,
		why: "bus knows NATS and nothing of devices, so that either side can change alone",
	},
	{
		pkg: "bus/bustest", ours: []string{"bus"},
		outside: []string{"github.com/nats-io/nats.go", "github.com/nats-io/nats-server/v2", "github.com/nats-io/nkeys"},
		why:     "a NATS server for tests belongs beside bus and needs no more than bus does",
	},
	{
		pkg: "gateway", ours: []string{"epoll", "gateway/mqtt", "gateway/ws", "gateway/auth", "gateway/auth/acl", "gateway/auth/chain", "gateway/command", "gateway/proxy", "session", "bus"},
		outside: []string{"github.com/rs/zerolog", "github.com/prometheus/client_golang", "github.com/tidwall/btree"},
		why:     "gateway is the one joint; it reaches NATS, frames and packets only through the leaves",
	},
	{
		pkg: "cmd/gateway", ours: []string{"gateway", "gateway/auth", "bus"},
		outside: []string{
			"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/goccy/go-yaml", "github.com/rs/zerolog",
			"github.com/mattn/go-isatty", "golang.org/x/sys/unix",
		},
		why: "the command reads configuration and starts a gateway; what it needs of devices it asks package gateway",
	},
	{
		pkg: "devices-sim", ours: []string{"epoll", "epoll/record", "gateway/mqtt", "gateway/ws"},
		outside: []string{
			"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/HdrHistogram/hdrhistogram-go", "github.com/goccy/go-yaml",
			"github.com/mattn/go-isatty", "github.com/rs/zerolog", "github.com/nats-io/nats.go", "golang.org/x/sys/unix",
		},
		why: "the simulator checks the server: sharing gateway, session or bus it would share their mistakes",
	},
}

var (
	clocks  = []string{"time"}
	sockets = []string{"net", "net/http", "os", "syscall"}
	logging = []string{"log", "log/slog"}
)

type listedPackage struct {
	ImportPath string
	Imports    []string
}

// TestImports compares what every package imports (tests aside) with the table.
func TestImports(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		row := slices.IndexFunc(house, func(r rule) bool { return r.pkg == name })
		if row < 0 {
			t.Errorf("package %s is not in the import table: add a line with what it may import and why", name)
			continue
		}
		r := house[row]
		for _, imp := range p.Imports {
			if !allowed(imp, r.ours, r.outside, r.std) {
				t.Errorf("%s imports %s; it must not: %s", name, imp, r.why)
			}
		}
	}
}

func allowed(imp string, ours, outside, forbiddenStd []string) bool {
	if rest, ok := strings.CutPrefix(imp, module+"/"); ok {
		return slices.Contains(ours, rest)
	}
	if first, _, _ := strings.Cut(imp, "/"); !strings.Contains(first, ".") {
		return !slices.Contains(forbiddenStd, imp)
	}
	return slices.ContainsFunc(outside, func(o string) bool { return imp == o || strings.HasPrefix(imp, o+"/") })
}

func TestAllowed(t *testing.T) {
	for imp, want := range map[string]bool{
		module + "/session": true, module + "/bus": false, "time": false, "strings": true, "golang.org/x/sys/unix": true,
		"golang.org/x/sys": false, "github.com/gobwas/ws/wsutil": true, "github.com/gobwas/wss": false,
	} {
		if got := allowed(imp, []string{"session"}, []string{"golang.org/x/sys/unix", "github.com/gobwas/ws"}, clocks); got != want {
			t.Errorf("allowed(%s) is %v", imp, got)
		}
	}
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var list []listedPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}
