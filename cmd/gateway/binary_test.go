package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// binary builds the command once per test run that asks for it.
func binary(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the binary")
	}
	path := filepath.Join(t.TempDir(), "gateway")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// started is a running gateway.
type started struct {
	cmd    *exec.Cmd
	ready  ready
	stderr bytes.Buffer
}

// startGateway runs the binary in an empty folder on free ports and waits for its ready event.
func startGateway(t *testing.T, path string, environ ...string) *started {
	t.Helper()
	return startCommand(t, exec.CommandContext(atMost(t, time.Minute), path), environ...)
}

// startCommand is startGateway for a command that leads to the binary.
func startCommand(t *testing.T, cmd *exec.Cmd, environ ...string) *started {
	t.Helper()
	s := &started{cmd: cmd}
	s.cmd.Dir = t.TempDir()
	if cmd.Stderr == nil {
		s.cmd.Stderr = &s.stderr
	}
	s.cmd.Env = append(withoutGatewayVariables(os.Environ()),
		"GATEWAY_LISTENERS=mqtt://127.0.0.1:0,ws://127.0.0.1:0", "GATEWAY_ADMIN=127.0.0.1:0", "GATEWAY_NATS_LISTEN=127.0.0.1:0")
	s.cmd.Env = append(s.cmd.Env, environ...)
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		_ = s.cmd.Wait()
		t.Fatalf("no ready event: %v\n%s", err, s.stderr.String())
	}
	if err := json.Unmarshal(line, &s.ready); err != nil || s.ready.Event != "ready" {
		t.Fatalf("not a ready event (%v): %s", err, line)
	}
	return s
}

// atMost is a context that kills a process which does not end by itself.
func atMost(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func withoutGatewayVariables(environ []string) []string {
	var rest []string
	for _, pair := range environ {
		if !strings.HasPrefix(pair, envPrefix) {
			rest = append(rest, pair)
		}
	}
	return rest
}

// get waits until the path answers with 200 and returns the body.
func (s *started) get(t *testing.T, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	last := errors.New("never asked")
	for ctx.Err() == nil {
		var body string
		if body, last = fetch(ctx, s.ready.Admin+path); last == nil {
			return body
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatalf("GET %s: %v\n%s", path, last, s.stderr.String())
	return ""
}

func fetch(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}

// TestBinaryStartsAndDrains is the promise of the README: no arguments, no file, and it serves; SIGTERM, and it is
// gone without a complaint.
func TestBinaryStartsAndDrains(t *testing.T) {
	s := startGateway(t, binary(t))
	if len(s.ready.Listeners) != 2 || !s.ready.NATS.Embedded || s.ready.NATS.URL == "" || s.ready.Node == "" || s.ready.Loops < 1 {
		t.Errorf("ready event lacks something: %+v", s.ready)
	}
	s.get(t, "/livez")
	s.get(t, "/readyz?verbose")
	if metrics := s.get(t, "/metrics"); !strings.Contains(metrics, "gateway_connections") {
		t.Errorf("metrics lack gateway_connections:\n%.2000s", metrics)
	}
	for _, ln := range s.ready.Listeners {
		_, addr, _ := strings.Cut(ln, "://")
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Errorf("%s of the ready event: %v", ln, err)
			continue
		}
		conn.Close()
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, s.stderr.String())
	}
}

// TestBinarySecondSignal: a drain waits for a device that was told and does not go; the second signal does not.
func TestBinarySecondSignal(t *testing.T) {
	s := startGateway(t, binary(t))
	_, addr, _ := strings.Cut(s.ready.Listeners[0], "://")
	device, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	connect := "\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03abc"
	if _, err := device.Write([]byte(connect)); err != nil {
		t.Fatal(err)
	}
	readPacket(t, device, 0x20) // CONNACK
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	readPacket(t, device, 0xe0) // DISCONNECT: it drains
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := s.cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitRuntime {
		t.Errorf("after the second SIGTERM: %v\n%s", err, s.stderr.String())
	}
}

// readPacket wants the next packet to begin with first; each comes in one read here.
func readPacket(t *testing.T, conn net.Conn, first byte) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1024)
	n, err := conn.Read(p)
	if err != nil || p[0] != first {
		t.Fatalf("wanted a packet %#x, got %x, %v", first, p[:n], err)
	}
}

// TestBinaryRefusesBusyPort: a second gateway on the same port must not start, although SO_REUSEPORT would let it.
func TestBinaryRefusesBusyPort(t *testing.T) {
	path := binary(t)
	first := startGateway(t, path)
	cmd := exec.CommandContext(atMost(t, time.Minute), path, "--listen", first.ready.Listeners[0], "--admin", "", "--nats-listen", "")
	cmd.Dir = t.TempDir()
	cmd.Env = withoutGatewayVariables(os.Environ())
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	_, addr, _ := strings.Cut(first.ready.Listeners[0], "://")
	if !errors.As(err, &exit) || exit.ExitCode() != exitRuntime || !strings.Contains(string(out), addr+" is in use") ||
		!strings.Contains(string(out), "--listen") {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestBinaryReportsConfiguration(t *testing.T) {
	cmd := exec.CommandContext(atMost(t, time.Minute), binary(t))
	cmd.Dir = t.TempDir()
	cmd.Env = append(withoutGatewayVariables(os.Environ()), "GATEWAY_LOOP=1", "GATEWAY_ADMIN=x")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitConfig || !strings.HasPrefix(string(out), "environment: 2 errors") {
		t.Errorf("%v:\n%s", err, out)
	}
}
