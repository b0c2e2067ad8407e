package epoll

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// echo is the least handler: it sends back what comes, and keeps a deadline as a keep-alive would.
type echo struct{ l *Loop }

func (e *echo) OnOpen(c *Conn) { c.Arm(e.l.NowSec() + 90) }

func (e *echo) OnData(c *Conn, p []byte) []byte {
	c.Arm(e.l.NowSec() + 90)
	c.End(append(c.Begin(), p...))
	return nil
}

func (e *echo) OnDrained(*Conn)      {}
func (e *echo) OnTimeout(*Conn)      {}
func (e *echo) OnClose(*Conn, Cause) {}
func (e *echo) OnWake()              {}
func (e *echo) OnTickEnd()           {}

func newEcho(t testing.TB) *echo {
	e := new(echo)
	l, err := New(Options{}, e, e)
	if err != nil {
		t.Fatal(err)
	}
	e.l = l
	t.Cleanup(func() { l.closeAll(); l.dispose() })
	return e
}

// round does one tick without waiting.
func (e *echo) round(t testing.TB) {
	n, err := e.l.poll.look()
	if err != nil {
		t.Fatal(err)
	}
	e.l.tick(n)
}

// pairs gives the loop n connections, over TCP, and returns the far ends.
func (e *echo) pairs(t testing.TB, n int) []int32 {
	_, addr, err := e.l.Listen(loopback)
	if err != nil {
		t.Fatal(err)
	}
	var far []int32
	for range n {
		fd, err := dialSocket(netip.Addr{}, addr)
		if err != nil {
			t.Fatal(err)
		}
		far = append(far, int32(fd))
		t.Cleanup(func() { unix.Close(fd) })
	}
	for e.l.live < n {
		e.round(t)
	}
	return far
}

func TestEchoAllocatesNothing(t *testing.T) {
	if checked {
		t.Skip("check builds allocate")
	}
	e := newEcho(t)
	far := e.pairs(t, 10)
	msg, in := []byte("a message of some bytes"), make([]byte, 100)
	allocs := testing.AllocsPerRun(200, func() {
		for _, fd := range far {
			send(fd, msg)
		}
		e.round(t)
		for _, fd := range far {
			if n, _ := recv(fd, in); n != len(msg) {
				t.Fatalf("%d bytes came back", n)
			}
		}
	})
	if allocs != 0 {
		t.Fatalf("%v allocations for ten echoes", allocs)
	}
}

func TestAcceptAndDialAllocateNothing(t *testing.T) {
	if checked {
		t.Skip("check builds allocate")
	}
	e := newEcho(t)
	_, addr, err := e.l.Listen(loopback)
	if err != nil {
		t.Fatal(err)
	}
	local := netip.MustParseAddr("127.0.0.9")
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := e.l.Dial(local, addr); err != nil {
			t.Fatal(err)
		}
		for e.l.live < 2 {
			e.round(t)
		}
		e.l.Each((*Conn).Close)
		e.round(t)
	})
	if allocs != 0 {
		t.Fatalf("%v allocations for a dial and an accept", allocs)
	}
}

// BenchmarkEcho reports what the loop's side of one echo costs: wait, recv, callback, send.
func BenchmarkEcho(b *testing.B) {
	for _, conns := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("%d ready", conns), func(b *testing.B) {
			e := newEcho(b)
			far := e.pairs(b, conns)
			msg, in := make([]byte, 64), make([]byte, 100)
			var spent time.Duration
			n := 0
			for b.Loop() {
				for _, fd := range far {
					send(fd, msg)
				}
				begin := time.Now()
				for want := e.l.stats.Writes + uint64(conns); e.l.stats.Writes < want; {
					e.round(b)
				}
				spent += time.Since(begin)
				for _, fd := range far {
					recv(fd, in)
				}
				n += conns
			}
			b.ReportMetric(float64(spent.Nanoseconds())/float64(n), "loop-ns/echo")
		})
	}
}

// BenchmarkPingPong is one message at a time through a running loop, so each one pays the sleep and the wake of the
// loop.
func BenchmarkPingPong(b *testing.B) {
	e := newEcho(b)
	fd := e.pairs(b, 1)[0]
	l, err := New(Options{}, e, e)
	if err != nil {
		b.Fatal(err)
	}
	var m Moved
	e.l.Each(func(c *Conn) { m = c.Detach() })
	e.round(b)
	if _, err := l.Adopt(m); err != nil {
		b.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- l.Run() }()
	if err := unix.SetNonblock(int(fd), false); err != nil {
		b.Fatal(err)
	}
	msg, in := make([]byte, 64), make([]byte, 100)
	before := cpu()
	for b.Loop() {
		if _, err := unix.Write(int(fd), msg); err != nil {
			b.Fatal(err)
		}
		if _, err := unix.Read(int(fd), in); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	l.Stop()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkDial is a dial to the loop itself, its accept and both ends' close.
func BenchmarkDial(b *testing.B) {
	e := newEcho(b)
	_, addr, err := e.l.Listen(loopback)
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		i++
		if _, err := e.l.Dial(netip.AddrFrom4([4]byte{127, 0, 1, byte(i)}), addr); err != nil {
			b.Fatal(err)
		}
		for e.l.live < 2 {
			e.round(b)
		}
		e.l.Each((*Conn).Close)
		e.round(b)
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// The far ends of TestIdleMemory live in a process of their own, because both together need more descriptors than one
// may have.
const farEndsEnv = "EPOLL_TEST_FAR_ENDS"

func TestMain(m *testing.M) {
	if addr := os.Getenv(farEndsEnv); addr != "" {
		if err := holdFarEnds(netip.MustParseAddrPort(addr)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	if addr := os.Getenv(tlsFarEndsEnv); addr != "" {
		if err := holdTLSFarEnds(addr); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// fleet dials, sends one message on each connection, and counts the answers.
type fleet struct {
	echo
	answered int
}

func (f *fleet) OnOpen(c *Conn) { c.End(append(c.Begin(), "hello"...)) }

func (f *fleet) OnData(*Conn, []byte) []byte {
	f.answered++
	return nil
}

// holdFarEnds dials as many connections as each line of standard input asks for, and answers each line when they have
// lived.
func holdFarEnds(addr netip.AddrPort) error {
	f := new(fleet)
	l, err := New(Options{}, f, f)
	if err != nil {
		return err
	}
	f.l = l
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var want int
		if _, err := fmt.Sscan(lines.Text(), &want); err != nil {
			return err
		}
		for f.answered < want {
			for l.live < want && l.live < f.answered+500 {
				local := netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + l.live%3)})
				if _, err := l.Dial(local, addr); err != nil {
					return err
				}
			}
			n, err := l.wait()
			if err != nil {
				return err
			}
			l.tick(n)
		}
		fmt.Println("ready")
	}
	return nil
}

// startFarEnds starts the process of the far ends; the test ends it.
func startFarEnds(t *testing.T, addr netip.AddrPort) (in io.Writer, answers *bufio.Reader) {
	t.Helper()
	return startProcess(t, farEndsEnv, addr)
}

func startProcess(t *testing.T, env string, addr netip.AddrPort) (in io.Writer, answers *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s", env, addr))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return stdin, bufio.NewReader(out)
}

// What an idle connection costs in user space, as the slope between 5,000 and 15,000 connections that have all sent
// and received.
func TestIdleMemory(t *testing.T) {
	if testing.Short() || checked {
		t.Skip("needs 15,000 descriptors, and figures of a release build")
	}
	e := newEcho(t)
	_, addr, err := e.l.Listen(loopback)
	if err != nil {
		t.Fatal(err)
	}
	in, answers := startFarEnds(t, addr)
	reach := func(n int) (heap, rss int64) {
		fmt.Fprintln(in, n)
		answered := make(chan string)
		go func() {
			line, _ := answers.ReadString('\n')
			answered <- strings.TrimSpace(line)
			e.l.Wake()
		}()
		for {
			select {
			case line := <-answered:
				if line != "ready" || e.l.live != n {
					t.Fatalf("far ends say %q, with %d connections of %d", line, e.l.live, n)
				}
				return memory(t)
			default:
				n, err := e.l.wait()
				if err != nil {
					t.Fatal(err)
				}
				e.l.tick(n)
			}
		}
	}
	reach(1000) // warm
	heap5, rss5 := reach(5000)
	heap15, rss15 := reach(15000)
	heap, rss := float64(heap15-heap5)/10000, float64(rss15-rss5)/10000
	t.Logf("an idle connection costs %.1f bytes of heap, %.1f bytes of RSS; %d goroutines",
		heap, rss, runtime.NumGoroutine())
	if heap > 80 {
		t.Errorf("%.1f bytes of heap per idle connection, want at most 80", heap)
	}
}

// memory returns the live heap and the resident set in bytes.
func memory(t *testing.T) (heap, rss int64) {
	t.Helper()
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(statm), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return int64(m.HeapAlloc), resident * int64(os.Getpagesize())
}
