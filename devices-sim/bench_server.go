package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// How long a server may take to accept connections, and to end after SIGTERM.
const (
	serverReadyMax = 60 * time.Second
	serverEndMax   = 20 * time.Second
)

// exitTerminated is the exit code of a Java process that SIGTERM has ended; all others end with 0.
const exitTerminated = 128 + int(syscall.SIGTERM)

// benchServer is one server process of a run. Owned by the goroutine that started it.
type benchServer struct {
	name   string
	cmd    *exec.Cmd
	stderr string        // file
	ready  string        // the line that said so
	ended  chan struct{} // closed when the process has ended and err is set
	err    error
}

// rack is the servers of one run, in a temporary directory. Owned by one goroutine.
type rack struct {
	dir     string
	servers []*benchServer
}

func newRack() (*rack, error) {
	dir, err := os.MkdirTemp("", "devices-sim-bench-")
	return &rack{dir: dir}, err
}

// start starts a server and returns once it accepts connections. The name is told when something goes wrong with it.
func (k *rack) start(ctx context.Context, name string, cmd *exec.Cmd) error {
	s, err := launch(ctx, name, cmd, k.dir)
	if err == nil {
		k.servers = append(k.servers, s)
	}
	return err
}

// watch looks at all servers, the last one first.
func (k *rack) watch() (list []*watched, err error) {
	for _, s := range slices.Backward(k.servers) {
		w, err := watch(s.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		list = append(list, w)
	}
	return list, nil
}

// kill ends a server as the loss of its machine would, and waits until it is gone.
func (k *rack) kill(at int) error {
	s := k.servers[at]
	k.servers = slices.Delete(k.servers, at, at+1)
	err := s.cmd.Process.Kill()
	<-s.ended
	return err
}

// stop ends all servers, the last one first.
func (k *rack) stop() (err error) {
	for _, s := range slices.Backward(k.servers) {
		err = errors.Join(err, s.stop())
	}
	_ = os.RemoveAll(k.dir) // a temporary one
	return err
}

// launch starts a server and waits until it says that it accepts connections: a line "ready", or the gateway's ready
// event.
func launch(ctx context.Context, name string, cmd *exec.Cmd, dir string) (*benchServer, error) {
	s := &benchServer{name: name, cmd: cmd, stderr: filepath.Join(dir, name+".err"), ended: make(chan struct{})}
	stderr, err := os.Create(s.stderr)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	// A pipe of our own: Wait then does not wait for grandchildren that have inherited it.
	stdout, toUs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer toUs.Close()
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, toUs, stderr
	// Interrupts are ours: a run ends in order, and then its server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		stdout.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	ready := make(chan string, 1)
	go listenReady(stdout, ready)
	go func() {
		s.err = cmd.Wait()
		close(s.ended)
	}()
	late := time.NewTimer(serverReadyMax)
	defer late.Stop()
	select {
	case s.ready = <-ready:
		return s, nil
	case <-s.ended:
		return nil, s.complaint("ended before it was ready", s.err)
	case <-ctx.Done():
		err = ctx.Err()
	case <-late.C:
		err = s.complaint(fmt.Sprintf("not ready after %v", serverReadyMax), nil)
	}
	_ = cmd.Process.Kill()
	<-s.ended
	return nil, err
}

// listenReady reads a server's standard output to its end and passes the line on that says that it is ready.
func listenReady(stdout *os.File, ready chan<- string) {
	defer stdout.Close()
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if line := lines.Text(); ready != nil && (line == "ready" || strings.HasPrefix(line, `{"event":"ready"`)) {
			ready <- line
			ready = nil
		}
	}
}

// stop ends the server and waits for its end.
func (s *benchServer) stop() error {
	select {
	case <-s.ended:
		return s.complaint("ended during the run", s.err)
	default:
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%s: SIGTERM: %w", s.name, err)
	}
	late := time.NewTimer(serverEndMax)
	defer late.Stop()
	select {
	case <-s.ended:
	case <-late.C:
		_ = s.cmd.Process.Kill()
		<-s.ended
		return s.complaint(fmt.Sprintf("still there %v after SIGTERM", serverEndMax), nil)
	}
	var exit *exec.ExitError
	if s.err == nil || (errors.As(s.err, &exit) && exit.ExitCode() == exitTerminated) {
		return nil
	}
	return s.complaint("did not end cleanly", s.err)
}

// complaint is an error with the last that the server said.
func (s *benchServer) complaint(what string, err error) error {
	if err != nil {
		what += ": " + err.Error()
	}
	text, _ := os.ReadFile(s.stderr) // nothing to add, then
	text = bytes.TrimSpace(text)
	if most := 2000; len(text) > most {
		text = text[len(text)-most:]
	}
	if len(text) > 0 {
		what += "\n" + string(text)
	}
	return fmt.Errorf("%s: %s", s.name, what)
}

// Where servers listen: below the ports that kernels give to connections, of which one may have the port
// between the time it is found free and the time the server takes it.
const serverPortMin, serverPortMax = 10_000, 32_000

// freePort returns a port that nobody has now.
func freePort() (int, error) {
	var last error
	for range 100 {
		port := serverPortMin + rand.IntN(serverPortMax-serverPortMin)
		ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err == nil {
			return port, ln.Close()
		}
		last = err
	}
	return 0, fmt.Errorf("no free port between %d and %d: %w", serverPortMin, serverPortMax, last)
}
