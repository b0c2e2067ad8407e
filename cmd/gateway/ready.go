package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tidegate/tidegate/gateway"
)

// ready is what the gateway tells once it serves: a banner to a person, the same as one JSON line to a program.
type ready struct {
	Event        string    `json:"event"` // always "ready"
	Version      string    `json:"version"`
	Platform     string    `json:"platform"`
	PID          int       `json:"pid"`
	Node         string    `json:"node"`
	Loops        int       `json:"loops"`
	OpenFilesMax uint64    `json:"open_files_max"`
	RoomFor      int       `json:"connections_max"`
	SharePort    bool      `json:"share_port,omitempty"`
	Config       string    `json:"config,omitempty"` // file, if any
	Listeners    []string  `json:"listeners"`
	Anonymous    string    `json:"anonymous"`
	Admin        string    `json:"admin,omitempty"` // base URL
	NATS         readyNATS `json:"nats"`
	Seconds      float64   `json:"ready_seconds"`
}

type readyNATS struct {
	Embedded bool   `json:"embedded"`
	URL      string `json:"url,omitempty"` // empty: embedded and without a listener
	Data     string `json:"data,omitempty"`
}

func newReady(l *loaded, addrs gateway.Addrs, took time.Duration) *ready {
	r := &ready{
		Event: "ready", Version: versionText(), Platform: runtime.GOOS + "/" + runtime.GOARCH, PID: os.Getpid(),
		Node: addrs.Node, Loops: addrs.Loops, OpenFilesMax: openFilesMax(), RoomFor: addrs.ConnectionsMax, SharePort: l.config.SharePort, Config: l.file,
		Anonymous: l.config.Auth.Anonymous, Seconds: took.Round(time.Millisecond).Seconds(),
		NATS: readyNATS{URL: hideURLSecrets(addrs.NATS)},
	}
	if r.NATS.URL == "" && l.config.NATS.URL != "embedded" {
		r.NATS.URL = hideURLSecrets(l.config.NATS.URL) // it is away now; this is where we look for it
	}
	for _, ln := range addrs.Listeners {
		r.Listeners = append(r.Listeners, ln.String())
	}
	if addrs.Admin.IsValid() {
		r.Admin = "http://" + addrs.Admin.String()
	}
	if l.config.NATS.URL == "embedded" {
		r.NATS.Embedded = true
		r.NATS.Data = l.config.Data
	}
	return r
}

func openFilesMax() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur
}

// writeEvent writes the JSON line. A reader that has gone away is no reason to stop serving devices.
func (r *ready) writeEvent(w io.Writer) {
	line, err := json.Marshal(r)
	if err != nil {
		panic(err) // a struct of strings and numbers
	}
	_, _ = w.Write(append(line, '\n'))
}

// writeBanner writes lines to copy and paste.
func (r *ready) writeBanner(w io.Writer) {
	var out strings.Builder
	fmt.Fprintf(&out, "\n  gateway %s · %s · loops %d · nofile %s\n\n", r.Version, r.Platform, r.Loops, grouped(r.OpenFilesMax))
	row := func(name, value, note string) {
		out.WriteString(strings.TrimRight(fmt.Sprintf("  %-11s %-35s  %s", name, value, note), " ") + "\n")
	}
	for _, ln := range r.Listeners {
		r.listenerRows(row, ln)
	}
	if r.SharePort {
		row("", "shared with other gateways of this user", "")
	}
	if r.Admin != "" {
		row("Metrics", r.Admin+"/metrics", "")
		row("Health", r.Admin+"/readyz?verbose", "")
	}
	switch {
	case !r.NATS.Embedded:
		row("NATS", r.NATS.URL, "external")
	case r.NATS.URL == "":
		row("NATS", "in this process", "embedded, JetStream "+r.NATS.Data)
	default:
		row("NATS", r.NATS.URL, "embedded, JetStream "+r.NATS.Data)
	}
	config := r.Config
	if config == "" {
		config = "no config file; `gateway config init` writes one"
	}
	fmt.Fprintf(&out, "  Ready in %.2fs   (%s)\n", r.Seconds, config)
	r.writeHints(&out)
	_, _ = io.WriteString(w, out.String())
}

func (r *ready) listenerRows(row func(name, value, note string), listener string) {
	scheme, addr, _ := strings.Cut(listener, "://")
	note := map[string]string{
		"anywhere": "anonymous OK (anywhere)", "loopback": "anonymous OK (loopback only)", "nobody": "devices log in",
	}[r.Anonymous]
	s := ""
	if scheme == "mqtts" || scheme == "wss" || scheme == "tls" {
		s = "s"
	}
	if scheme == "mqtt"+s || scheme == "any" || scheme == "tls" {
		row("MQTT", "mqtt"+s+"://"+addr, note)
	}
	if scheme == "ws"+s || scheme == "any" || scheme == "tls" {
		row("WebSocket", "ws"+s+"://"+addr+"/mqtt", note)
		if r.Anonymous != "nobody" {
			row("", "ws"+s+"://"+addr+"/ws/{client-id}", "plain frames, JSON or CBOR")
		}
	}
}

// writeHints shows first steps with the addresses of this run.
func (r *ready) writeHints(out *strings.Builder) {
	var target netip.AddrPort
	for _, ln := range r.Listeners {
		scheme, addr, _ := strings.Cut(ln, "://")
		if ap, err := netip.ParseAddrPort(addr); err == nil && (scheme == "mqtt" || scheme == "any") {
			target = reachable(ap)
			break
		}
	}
	if !target.IsValid() {
		out.WriteByte('\n')
		return
	}
	where := ""
	if target.Addr() != netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		where = " -h " + target.Addr().String()
	}
	if target.Port() != 1883 {
		where += " -p " + strconv.Itoa(int(target.Port()))
	}
	out.WriteString("\n  Try:  ")
	if r.NATS.URL != "" {
		server := ""
		if r.NATS.URL != "nats://127.0.0.1:4222" {
			server = " -s " + r.NATS.URL
		}
		fmt.Fprintf(out, "nats sub 'devices.>'%s\n        ", server)
	}
	fmt.Fprintf(out, "mosquitto_sub%s -v -t 'devices/#'\n", where)
	fmt.Fprintf(out, "        mosquitto_pub%s -t devices/d1/temp -m 21.5\n", where)
	fmt.Fprintf(out, "        devices-sim run --target mqtt://%s --devices 1000\n\n", target)
}

// reachable turns "every address" into one of this machine.
func reachable(ap netip.AddrPort) netip.AddrPort {
	if ap.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ap.Port())
	}
	return ap
}

// grouped writes 1048576 as 1,048,576.
func grouped(n uint64) string {
	text := strconv.FormatUint(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
