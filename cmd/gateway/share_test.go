package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/bus/bustest"
)

// wired is a device as bare as it can be: MQTT 3.1.1 by hand, so that these tests depend on nothing of the gateway.
type wired struct {
	id   string
	conn net.Conn
	in   *bufio.Reader
}

const wiredPatience = 20 * time.Second

// plug connects a device; the error is what the gateway answered instead of success.
func plug(addr, id string) (*wired, error) {
	conn, err := net.DialTimeout("tcp", addr, wiredPatience)
	if err != nil {
		return nil, err
	}
	d := &wired{id: id, conn: conn, in: bufio.NewReader(conn)}
	_ = conn.SetDeadline(time.Now().Add(wiredPatience))
	body := "\x00\x04MQTT\x04\x02\x00\x3c" + text(id)
	if _, err := conn.Write(append([]byte{0x10, byte(len(body))}, body...)); err != nil {
		conn.Close()
		return nil, err
	}
	first, rest, err := d.next()
	switch {
	case err != nil:
	case first != 0x20 || len(rest) != 2:
		err = fmt.Errorf("packet %#x % x instead of CONNACK", first, rest)
	case rest[1] != 0:
		err = refusal(rest[1])
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return d, nil
}

// refusal is the return code of a CONNACK.
type refusal byte

func (r refusal) Error() string { return fmt.Sprintf("refused with %d", byte(r)) }

func text(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }

// next reads one packet of less than 128 bytes.
func (d *wired) next() (first byte, body []byte, err error) {
	var head [2]byte
	_ = d.conn.SetReadDeadline(time.Now().Add(wiredPatience))
	if _, err := io.ReadFull(d.in, head[:]); err != nil {
		return 0, nil, err
	}
	body = make([]byte, head[1])
	_, err = io.ReadFull(d.in, body)
	return head[0], body, err
}

func (d *wired) send(t *testing.T, first byte, body string) {
	t.Helper()
	if _, err := d.conn.Write(append([]byte{first, byte(len(body))}, body...)); err != nil {
		t.Fatalf("%s: %v", d.id, err)
	}
}

func (d *wired) expect(t *testing.T, first byte, body string) {
	t.Helper()
	if f, b, err := d.next(); err != nil || f != first || string(b) != body {
		t.Fatalf("%s: packet %#x %q, %v; want %#x %q", d.id, f, b, err, first, body)
	}
}

func (d *wired) ping(t *testing.T) {
	t.Helper()
	d.send(t, 0xC0, "")
	d.expect(t, 0xD0, "")
}

// listenerOf is the address of the first listener.
func (s *started) listenerOf() string {
	_, addr, _ := strings.Cut(s.ready.Listeners[0], "://")
	return addr
}

// metric waits until a metric has a value.
func (s *started) metric(t *testing.T, line string) {
	t.Helper()
	for deadline := time.Now().Add(wiredPatience); ; time.Sleep(20 * time.Millisecond) {
		page := s.get(t, "/metrics")
		if strings.Contains(page, "\n"+line+"\n") {
			return
		}
		if time.Now().After(deadline) {
			name, _, _ := strings.Cut(line, " ")
			at := strings.Index(page, "\n"+name)
			t.Fatalf("never %s:\n%.200s\n%s", line, page[max(at, 0):], s.stderr.String())
		}
	}
}

// devices is how many a gateway has.
func (s *started) devices(t *testing.T) (n int) {
	t.Helper()
	const name = `gateway_connections{protocol="mqtt3.1.1",transport="tcp"} `
	_, rest, _ := strings.Cut(s.get(t, "/metrics"), "\n"+name)
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatalf("no %s: %v", name, err)
	}
	return n
}

// TestBinarySharesPort: two processes on one port and one NATS are one gateway to 200 devices. Each message reaches its
// device wherever that is; when one process is killed, its devices come back through the same port, to the other.
func TestBinarySharesPort(t *testing.T) {
	const devices = 200
	path, nats := binary(t), bustest.Start(t)
	env := []string{"GATEWAY_NATS_URL=" + nats.URL(), "GATEWAY_SHARE_PORT=true"}
	a := startGateway(t, path, append(env, "GATEWAY_NODE=a")...)
	addr := a.listenerOf()
	b := startGateway(t, path, append(env, "GATEWAY_NODE=b", "GATEWAY_LISTENERS=mqtt://"+addr)...)
	for _, s := range []*started{a, b} {
		s.metric(t, "gateway_peers 1")
	}
	var all []*wired
	for i := range devices {
		d, err := plug(addr, fmt.Sprintf("dev-%03d", i))
		if err != nil {
			t.Fatal(err)
		}
		d.send(t, 0x82, "\x00\x01"+text("to/"+d.id)+"\x00"+text("all")+"\x00")
		d.expect(t, 0x90, "\x00\x01\x00\x00")
		all = append(all, d)
	}
	if x, y := a.devices(t), b.devices(t); x == 0 || y == 0 || x+y != devices {
		t.Fatalf("%d and %d devices", x, y)
	} else {
		t.Logf("%d and %d devices", x, y)
	}
	everybodyHears(t, all)

	if err := b.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = b.cmd.Wait()
	moved := 0
	for i, d := range all {
		d.send0(0xC0)
		if first, _, err := d.next(); err == nil && first == 0xD0 {
			continue
		}
		d.conn.Close()
		again, err := plug(addr, d.id)
		if err != nil {
			t.Fatalf("%s does not come back: %v", d.id, err)
		}
		again.send(t, 0x82, "\x00\x01"+text("to/"+d.id)+"\x00"+text("all")+"\x00")
		again.expect(t, 0x90, "\x00\x01\x00\x00")
		all[i] = again
		moved++
	}
	if n := a.devices(t); n != devices || moved == 0 {
		t.Errorf("%d devices at the one that is left, %d moved", n, moved)
	}
	everybodyHears(t, all)
}

// send0 sends a packet without a body to a peer that may be gone.
func (d *wired) send0(first byte) { _, _ = d.conn.Write([]byte{first, 0}) }

// everybodyHears has each device publish to another, and one to all.
func everybodyHears(t *testing.T, all []*wired) {
	t.Helper()
	for i, d := range all {
		d.send(t, 0x30, text("to/"+all[(i+17)%len(all)].id)+d.id)
	}
	for i, d := range all {
		from := all[(i+len(all)-17)%len(all)]
		d.expect(t, 0x30, text("to/"+d.id)+from.id)
	}
	all[0].send(t, 0x30, text("all")+"hello")
	for _, d := range all {
		d.expect(t, 0x30, text("all")+"hello")
	}
}

// TestBinaryTakesOverAcrossProcesses: the second connection of a client id ends the first, also when the kernel gave it
// to the other process.
func TestBinaryTakesOverAcrossProcesses(t *testing.T) {
	path, nats := binary(t), bustest.Start(t)
	env := []string{"GATEWAY_NATS_URL=" + nats.URL(), "GATEWAY_SHARE_PORT=true"}
	a := startGateway(t, path, env...)
	b := startGateway(t, path, append(env, "GATEWAY_LISTENERS=mqtt://"+a.listenerOf())...)
	for _, s := range []*started{a, b} {
		s.metric(t, "gateway_peers 1")
	}
	var last *wired
	for range 30 {
		d, err := plug(a.listenerOf(), "one")
		if err != nil {
			t.Fatal(err)
		}
		if last != nil {
			if _, _, err := last.next(); !errors.Is(err, io.EOF) {
				t.Fatalf("the older connection: %v", err)
			}
			last.conn.Close()
		}
		d.ping(t)
		last = d
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		x, y := a.devices(t), b.devices(t)
		if x+y == 1 {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("%d and %d devices", x, y)
		}
	}
	last.ping(t) // it is the last one
	here, there := 0, 0
	for _, s := range []*started{a, b} {
		page := s.get(t, "/metrics")
		here += value(t, page, `gateway_takeovers_total{where="here"} `)
		there += value(t, page, `gateway_takeovers_total{where="elsewhere"} `)
	}
	if here+there != 29 || there == 0 {
		t.Errorf("%d takeovers here, %d elsewhere", here, there)
	}
}

func value(t *testing.T, page, name string) (n int) {
	t.Helper()
	_, rest, _ := strings.Cut(page, "\n"+name)
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatalf("no %s: %v", name, err)
	}
	return n
}

// TestBinaryOutOfDescriptors: a process that may open 256 files keeps a reserve and refuses what is beyond, and says so.
// When there is really none left, because somebody lowers the limit, it survives that, too: connected devices go on, it
// does not spin, and when the limit is raised again, new devices come in.
func TestBinaryOutOfDescriptors(t *testing.T) {
	s := startCommand(t, exec.CommandContext(atMost(t, time.Minute), "sh", "-c", `ulimit -n 256; exec "$0"`, binary(t)))
	room := s.ready.RoomFor
	if s.ready.OpenFilesMax != 256 || room < 100 || room > 256-64 {
		t.Fatalf("room for %d with %d files", room, s.ready.OpenFilesMax)
	}
	var devices []*wired
	refused := 0
	for i := range room + 50 {
		d, err := plug(s.listenerOf(), fmt.Sprint("dev-", i))
		if err == nil {
			devices = append(devices, d)
			continue
		}
		if code := refusal(0); !errors.As(err, &code) || code != 3 {
			t.Fatalf("device %d: %v", i, err)
		}
		refused++
	}
	if len(devices) != room || refused != 50 {
		t.Errorf("%d devices, %d refused; there is room for %d", len(devices), refused, room)
	}
	resp, err := http.Get(s.ready.Admin + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if want := fmt.Sprintf("full: %d of %d connections", room, room); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), want) {
		t.Errorf("%s: %s", resp.Status, body)
	}
	for _, d := range devices {
		d.ping(t)
	}

	for _, d := range devices[100:] {
		d.conn.Close()
	}
	s.get(t, "/readyz")
	devices = devices[:100]
	low := unix.Rlimit{Cur: 40, Max: 256}
	if err := unix.Prlimit(s.cmd.Process.Pid, unix.RLIMIT_NOFILE, &low, nil); err != nil {
		t.Fatal(err)
	}
	var waiting []net.Conn
	for range 20 {
		conn, err := net.DialTimeout("tcp", s.listenerOf(), wiredPatience)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		waiting = append(waiting, conn)
	}
	_ = waiting[0].SetReadDeadline(time.Now().Add(wiredPatience))
	if _, err := waiting[0].Read(make([]byte, 1)); err == nil || errors.Is(err, syscall.EAGAIN) {
		t.Errorf("nobody told the first one that waits: %v", err)
	}
	before := cpuTime(t, s)
	began := time.Now()
	for time.Since(began) < time.Second {
		for _, d := range devices {
			d.ping(t)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if used := cpuTime(t, s) - before; used > time.Second/2 {
		t.Errorf("%v of CPU in a second: it spins", used)
	}
	high := unix.Rlimit{Cur: 256, Max: 256}
	if err := unix.Prlimit(s.cmd.Process.Pid, unix.RLIMIT_NOFILE, &high, nil); err != nil {
		t.Fatal(err)
	}
	d, err := plug(s.listenerOf(), "late")
	if err != nil {
		t.Fatal(err)
	}
	d.ping(t)
	page := s.get(t, "/metrics")
	if value(t, page, `gateway_accept_refused_total{reason="descriptors"} `) == 0 || value(t, page, `gateway_accept_pauses_total `) == 0 {
		t.Error("metrics do not tell that descriptors ran out")
	}
}

// cpuTime is what the process has used. It is read from the kernel: the admin server has no descriptor for us.
func cpuTime(t *testing.T, s *started) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may hold anything but that
	fields := strings.Fields(rest)
	var user, system int
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		t.Fatal(err)
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100
	return time.Duration(user+system) * tick
}

// TestBinaryFileLimits: the soft limit is raised to the hard one (Go stops one short of it); one that suffices for no device is an error with a
// remedy.
func TestBinaryFileLimits(t *testing.T) {
	path := binary(t)
	s := startCommand(t, exec.CommandContext(atMost(t, time.Minute), "sh", "-c", `ulimit -S -n 100; ulimit -H -n 512; exec "$0"`, path))
	if s.ready.OpenFilesMax < 511 || s.ready.OpenFilesMax > 512 || s.ready.RoomFor < 300 {
		t.Errorf("room for %d with %d files", s.ready.RoomFor, s.ready.OpenFilesMax)
	}
	cmd := exec.CommandContext(atMost(t, time.Minute), "sh", "-c", `ulimit -n 64; exec "$0" --admin "" --nats-listen "" --listen mqtt://127.0.0.1:0`, path)
	cmd.Dir, cmd.Env = t.TempDir(), withoutGatewayVariables(os.Environ())
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitRuntime || !strings.Contains(string(out), "ulimit -n") {
		t.Errorf("%v\n%s", err, out)
	}
}
