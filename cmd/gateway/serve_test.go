package main

import (
	"bytes"
	"context"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway"
)

// procs sets GOMAXPROCS for one test.
func procs(t *testing.T, n int) {
	t.Helper()
	before := runtime.GOMAXPROCS(n)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

// TestReserveProcs: without the variable GOMAXPROCS there are processors to spare beside the loops; with it they are the
// operator's, who is warned if there are none.
func TestReserveProcs(t *testing.T) {
	for _, c := range []struct {
		variable           string
		procs, loops       int
		wantProcs, wantAll int
		remedy             string // "": no warning
	}{
		{"", 1, 0, procsMin, 1, ""},
		{"", 7, 0, 7, 4, ""},
		{"", 2, 8, 10, 8, ""},
		{"8", 8, 0, 8, 4, ""},
		{"5", 5, 4, 5, 4, ""},
		{"4", 4, 4, 4, 4, "set it to 6 or more"},
		{"1", 1, 0, 1, 1, "set it to 4 or more"},
	} {
		procs(t, c.procs)
		t.Setenv("GOMAXPROCS", c.variable)
		var out bytes.Buffer
		loops := reserveProcs(c.loops, zerolog.New(&out))
		if got := runtime.GOMAXPROCS(0); loops != c.wantAll || got != c.wantProcs {
			t.Errorf("%+v: %d loops, GOMAXPROCS %d", c, loops, got)
		}
		switch log := out.String(); {
		case c.remedy == "" && log != "":
			t.Errorf("%+v: %s", c, log)
		case c.remedy != "" && (strings.Count(log, "\n") != 1 || !strings.Contains(log, `"warn"`) ||
			!strings.Contains(log, "up to 2 ms") || !strings.Contains(log, c.remedy)):
			t.Errorf("%+v: no warning with %q in %q", c, c.remedy, log)
		}
	}
}

// TestLoopsByDefault: whoever embeds the package gateway gets as many loops as the command has.
func TestLoopsByDefault(t *testing.T) {
	procs(t, 2*runtime.NumCPU()+1) // so that neither half of it nor the whole is the number of cores, or half of those
	t.Setenv("GOMAXPROCS", "")
	want := runtime.NumCPU() + 1
	cfg := gateway.Default()
	cfg.Listeners, cfg.Admin, cfg.NATS.Listen, cfg.Data = []string{"mqtt://127.0.0.1:0"}, "", "", t.TempDir()
	g, err := gateway.New(cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	stopped, stop := context.WithCancel(context.Background())
	stop()
	if err := g.Run(stopped); err != nil {
		t.Error(err)
	}
	if got, command := g.Addrs().Loops, reserveProcs(0, zerolog.Nop()); got != want || command != want {
		t.Errorf("%d loops in the package and %d in the command for %d processors", got, command, 2*runtime.NumCPU()+1)
	}
}

// TestBinaryHandsPortOver: while a gateway that does not share its port drains, the next one may have the port. A device
// that was told and does not go keeps the first one draining.
func TestBinaryHandsPortOver(t *testing.T) {
	path, nats := binary(t), bustest.Start(t)
	env := "GATEWAY_NATS_URL=" + nats.URL()
	for _, share := range []string{"false", "true"} {
		addr := freeAddr(t)
		a := startGateway(t, path, env, "GATEWAY_LISTENERS=mqtt://"+addr)
		device, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer device.Close()
		if _, err := device.Write([]byte("\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03" + "old")); err != nil {
			t.Fatal(err)
		}
		readPacket(t, device, 0x20) // CONNACK
		if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		readPacket(t, device, 0xE0) // DISCONNECT: it drains
		startGateway(t, path, env, "GATEWAY_SHARE_PORT="+share, "GATEWAY_LISTENERS=mqtt://"+addr)
		d, err := plug(addr, "new")
		if err != nil {
			t.Fatal(err)
		}
		d.ping(t)
		d.conn.Close()
	}
}
