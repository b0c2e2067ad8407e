//go:build fault

package fault

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// process is a program that can be killed, frozen and started again with the same arguments. Its log goes on in one file,
// whose end is shown when the test fails. Whatever happens, it is dead when the test ends.
type process struct {
	t    *testing.T
	name string
	path string
	args []string
	env  []string
	dir  string
	attr syscall.SysProcAttr

	cmd   *exec.Cmd
	kills atomic.Int64 // of it so far; a connection that ends while this stands was ended by a living process
	log   string
}

const logShown = 4 << 10

func newProcess(t *testing.T, name, path string, args ...string) *process {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, name: name, path: path, args: args, dir: dir, log: filepath.Join(dir, "log")}
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "GATEWAY_") {
			p.env = append(p.env, pair)
		}
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			p.showLog()
		}
	})
	return p
}

func (p *process) start() {
	p.t.Helper()
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close()
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Dir, p.cmd.Env = p.dir, p.env
	p.cmd.Stdout, p.cmd.Stderr = out, out
	attr := p.attr
	attr.Pdeathsig = syscall.SIGKILL // also when go test ends this process in the middle
	p.cmd.SysProcAttr = &attr
	if err := p.cmd.Start(); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// kill is kill -9. It returns when the process is gone.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	p.kills.Add(1)
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.cmd = nil
}

func (p *process) running() bool { return p.cmd != nil }

// freeze is SIGSTOP: the sockets stay open, and nobody answers.
func (p *process) freeze() { p.signal(syscall.SIGSTOP) }

func (p *process) thaw() { p.signal(syscall.SIGCONT) }

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Errorf("%s: %v: %v", p.name, s, err)
	}
}

func (p *process) showLog() {
	text, _ := os.ReadFile(p.log)
	if cut := len(text) - logShown; cut > 0 {
		text = append([]byte("... "), text[cut:]...)
	}
	p.t.Logf("log of %s:\n%s", p.name, bytes.TrimSpace(text))
}

// freePort is below the ports that the kernel gives to outgoing connections, so that it is still free when a process that
// was killed comes back.
func freePort(t *testing.T) int {
	t.Helper()
	for range 200 {
		port := 20000 + rand.IntN(12000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port between 20000 and 32000")
	return 0
}
