package epoll

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inbox is the least an owner needs to be reached from other goroutines.
type inbox struct {
	mu    sync.Mutex
	notes []int
}

func (b *inbox) put(note int) {
	b.mu.Lock()
	b.notes = append(b.notes, note)
	b.mu.Unlock()
}

func (b *inbox) drain() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	notes := b.notes
	b.notes = nil
	return notes
}

// Eight goroutines put notes and wake; every note is seen, in order per goroutine, without a lost wake: nothing else
// would wake the loop before the watchdog gives up.
func TestWakeFromManyGoroutines(t *testing.T) {
	const producers, notes = 8, 2000
	r := newRig(t, Options{})
	l, err := New(Options{}, r, r)
	if err != nil {
		t.Fatal(err)
	}
	var in inbox
	last := make([]int, producers)
	seen := 0
	all := make(chan struct{})
	r.wake = func() {
		for _, note := range in.drain() {
			who, n := note/notes, note%notes
			if n != last[who] {
				t.Errorf("producer %d: note %d, want %d", who, n, last[who])
			}
			last[who]++
			if seen++; seen == producers*notes {
				close(all)
			}
		}
	}
	done := make(chan error)
	go func() { done <- l.Run() }()
	for who := range producers {
		go func() {
			for n := range notes {
				in.put(who*notes + n)
				l.Wake()
				if n%50 == 0 {
					runtime.Gosched()
				}
			}
		}()
	}
	<-all
	var stoppers sync.WaitGroup
	for range producers {
		stoppers.Add(1)
		go func() {
			defer stoppers.Done()
			for range 100 {
				l.Wake()
				l.Stop()
			}
		}()
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	stoppers.Wait()
	l.Wake() // after the end: no effect, no descriptor of somebody else written to
}

// A lost wake would show as a wait of up to a second.
func TestWakeInterruptsASleep(t *testing.T) {
	r := newRig(t, Options{})
	l, err := New(Options{}, r, r)
	if err != nil {
		t.Fatal(err)
	}
	woke := make(chan struct{})
	r.wake = func() { woke <- struct{}{} }
	done := make(chan error)
	go func() { done <- l.Run() }()
	slow := 0
	for range 300 {
		begin := time.Now()
		l.Wake()
		<-woke
		if time.Since(begin) > 500*time.Millisecond {
			slow++
		}
	}
	r.wake = nil
	l.Stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	// The machine may be busy; a loop that loses wakes would lose most of these.
	if slow > 30 {
		t.Fatalf("%d of 300 wakes were slow", slow)
	}
}

func TestPendingWakeIsFreeAndOne(t *testing.T) {
	r := newRig(t, Options{})
	wakes := 0
	r.wake = func() { wakes++ }
	for range 100 {
		r.Loop.Wake()
	}
	if n, _ := r.poll.look(); n != 0 {
		t.Fatal("the eventfd was written although the loop was awake")
	}
	r.tick()
	r.tick()
	if wakes != 1 {
		t.Fatalf("%d calls of OnWake", wakes)
	}
}

// A loop that is woken in every tick hears its sockets all the same.
func TestWakeInEveryTick(t *testing.T) {
	r := newRig(t, Options{})
	at := r.listen()
	opened := false
	r.open = func(*Conn) { opened = true }
	r.tickEnd = r.Loop.Wake
	r.tick()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	for ticks := 0; !opened; ticks++ {
		if ticks == 1000 {
			t.Fatal("nothing is heard")
		}
		n, err := r.wait()
		if err != nil {
			t.Fatal(err)
		}
		r.Loop.tick(n)
	}
}

func TestOrderOfATick(t *testing.T) {
	r := newRig(t, Options{})
	var order []string
	note := func(what string) { order = append(order, what) }
	late, _ := r.pair()
	resumed, _ := r.pair()
	r.data = func(c *Conn, p []byte) []byte {
		note("data " + string(p))
		if string(p) == "new" {
			r.Loop.Wake()
			put(c, []byte("x"))
		}
		return nil
	}
	r.wake = func() {
		note("wake")
		resumed.Offer([]byte("tail"))
		resumed.ResumeRead()
		if r.stats.Writes != 0 {
			t.Error("written before the flush")
		}
	}
	r.timeout = func(c *Conn) { note("timeout"); c.Close() }
	r.tickEnd = func() { note("end") }
	r.close = func(*Conn, Cause) {
		note("close")
		if r.stats.Writes != 1 {
			t.Error("closed before the flush")
		}
	}
	_, p := r.pair()
	p.send([]byte("new"))
	late.Arm(r.NowSec() + 1)
	r.advance(time.Second)
	want := []string{"data new", "wake", "data tail", "timeout", "end", "close"}
	if len(order) != len(want) {
		t.Fatal(order)
	}
	for i := range want {
		if order[i] != want[i] {
			t.Fatalf("%v, want %v", order, want)
		}
	}
}

func TestATickASecond(t *testing.T) {
	r := newRig(t, Options{})
	r.tick()
	if d := r.untilNext(); d <= 0 || d > time.Second {
		t.Fatal(d)
	}
	if secOf(r.Now()+int64(r.untilNext())) != r.NowSec()+1 {
		t.Fatal("the sleep does not end at the second")
	}
	if secOf(0) != 1 || NowSec() < 1 {
		t.Fatal("seconds start at 1")
	}
}

// The number of goroutines does not depend on connections.
func TestGoroutines(t *testing.T) {
	r := newRig(t, Options{})
	r.data = func(c *Conn, p []byte) []byte { put(c, p); return nil }
	var peers []*peer
	connect := func(n int) int {
		for range n {
			c, p := r.pair()
			c.Arm(r.NowSec() + 100)
			p.send([]byte("x"))
			peers = append(peers, p)
		}
		r.until("echoes", func() bool { return r.stats.WriteBytes == uint64(len(peers)) })
		return runtime.NumGoroutine()
	}
	few := connect(10)
	if many := connect(3000); many != few {
		t.Fatalf("%d goroutines with 10 connections, %d with 3,010", few, many)
	}
}

// In check builds a call from a goroutine that does not own the loop is caught.
func TestForeignGoroutineIsCaught(t *testing.T) {
	if !checked {
		t.Skip("check builds only: -race or -tags gwcheck")
	}
	r := newRig(t, Options{})
	l, err := New(Options{}, r, r)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	c, err := l.Adopt(Moved{FD: fds[0]})
	if err != nil {
		t.Fatal(err)
	}
	var running atomic.Bool
	ticked := make(chan struct{}, 1)
	r.tickEnd = func() {
		if !running.Swap(true) {
			ticked <- struct{}{}
		}
	}
	done := make(chan error)
	go func() { done <- l.Run() }()
	<-ticked
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		c.Close()
	}()
	l.Stop()
	<-done
}
