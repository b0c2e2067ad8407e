package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// login connects an MQTT 3.1.1 device and returns its connection and the code of CONNACK.
func login(t *testing.T, addr, name, password string) (net.Conn, byte) {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	body := "\x00\x04MQTT\x04\xC2\x00\x00\x00\x01c"
	for _, s := range []string{name, password} {
		body += fmt.Sprintf("\x00%c%s", len(s), s)
	}
	ack := make([]byte, 4)
	if _, err := fmt.Fprintf(c, "\x10%c%s", len(body), body); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, ack); err != nil {
		t.Fatal(err)
	}
	return c, ack[3]
}

// TestHangup: SIGHUP has the gateway read its password file, as gateway passwd has left it, and close who would not be let in again.
func TestHangup(t *testing.T) {
	t.Parallel()
	path, dir := binary(t), t.TempDir()
	users, config := filepath.Join(dir, "users"), filepath.Join(dir, "gateway.yaml")
	passwd := func(name, password string) {
		t.Helper()
		if _, err := commandOutput(t, password, "passwd", "--memory", "64", "--passes", "1", users, name); err != nil {
			t.Fatal(err)
		}
	}
	passwd("anna", "one")
	text := fmt.Sprintf("auth:\n  anonymous: nobody\n  chain: main\n  chains:\n    - {chain: main, type: file, file: %q}\n", users)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startGateway(t, path, "GATEWAY_CONFIG="+config)
	addr := strings.TrimPrefix(s.ready.Listeners[0], "mqtt://")
	c, code := login(t, addr, "anna", "one")
	if code != 0 {
		t.Fatalf("CONNACK %d", code)
	}
	passwd("anna", "two")
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%d %v, not the end", n, err)
	}
	if _, code := login(t, addr, "anna", "one"); code == 0 {
		t.Error("the old password is taken")
	}
	if _, code := login(t, addr, "anna", "two"); code != 0 {
		t.Errorf("the new password: CONNACK %d", code)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, s.stderr.String())
	}
}

// TestHangupOfNothing: SIGHUP does not end a gateway that has no files to read again; one line tells of it.
func TestHangupOfNothing(t *testing.T) {
	t.Parallel()
	s := startGateway(t, binary(t))
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if _, code := login(t, strings.TrimPrefix(s.ready.Listeners[0], "mqtt://"), "anna", "any"); code != 0 {
		t.Errorf("CONNACK %d", code)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, s.stderr.String())
	}
	if n := strings.Count(s.stderr.String(), "what can be read again was read"); n != 1 {
		t.Errorf("%d lines tell of it:\n%s", n, s.stderr.String())
	}
}
