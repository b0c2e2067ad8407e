package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway"
)

func readyFor(t *testing.T, listeners ...string) *ready {
	t.Helper()
	cfg := gateway.Default()
	addrs := gateway.Addrs{
		Admin: netip.MustParseAddrPort("127.0.0.1:8080"), NATS: "nats://127.0.0.1:4222", Node: "pump-gateway", Loops: 2,
	}
	for _, s := range listeners {
		ln, err := gateway.ParseListener(s)
		if err != nil {
			t.Fatal(err)
		}
		addrs.Listeners = append(addrs.Listeners, ln)
	}
	r := newReady(&loaded{config: cfg}, addrs, 210*time.Millisecond)
	r.Version, r.OpenFilesMax, r.Platform = "1.2.3", 1048576, "linux/amd64"
	return r
}

func TestBanner(t *testing.T) {
	var out strings.Builder
	readyFor(t, "mqtt://127.0.0.1:1883", "ws://127.0.0.1:8083").writeBanner(&out)
	want := `
  gateway 1.2.3 · linux/amd64 · loops 2 · nofile 1,048,576

  MQTT        mqtt://127.0.0.1:1883                anonymous OK (loopback only)
  WebSocket   ws://127.0.0.1:8083/mqtt             anonymous OK (loopback only)
              ws://127.0.0.1:8083/ws/{client-id}   plain frames, JSON or CBOR
  Metrics     http://127.0.0.1:8080/metrics
  Health      http://127.0.0.1:8080/readyz?verbose
  NATS        nats://127.0.0.1:4222                embedded, JetStream ./gateway-data
  Ready in 0.21s   (no config file; ` + "`gateway config init`" + ` writes one)

  Try:  nats sub 'devices.>'
        mosquitto_sub -v -t 'devices/#'
        mosquitto_pub -t devices/d1/temp -m 21.5
        devices-sim run --target mqtt://127.0.0.1:1883 --devices 1000

`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestBannerHints: what is pasted must reach this gateway, whatever ports it has.
func TestBannerHints(t *testing.T) {
	var out strings.Builder
	r := readyFor(t, "ws://127.0.0.1:8083", "any://0.0.0.0:1999")
	r.NATS.URL = "nats://127.0.0.1:4333"
	r.writeBanner(&out)
	for _, line := range []string{
		"mosquitto_pub -p 1999 -t devices/d1/temp -m 21.5", "nats sub 'devices.>' -s nats://127.0.0.1:4333", "--target mqtt://127.0.0.1:1999",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no %q in\n%s", line, out.String())
		}
	}
}

func TestReadyHidesSecrets(t *testing.T) {
	cfg := gateway.Default()
	cfg.NATS.URL = "nats://gw:hunter2@nats.example:4222"
	for _, connected := range []string{cfg.NATS.URL, ""} {
		r := newReady(&loaded{config: cfg}, gateway.Addrs{NATS: connected}, 0)
		var out strings.Builder
		r.writeEvent(&out)
		r.writeBanner(&out)
		if strings.Contains(out.String(), "hunter2") || !strings.Contains(out.String(), "nats.example:4222") {
			t.Error(out.String())
		}
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1048576: "1,048,576"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %s", n, got)
		}
	}
}
