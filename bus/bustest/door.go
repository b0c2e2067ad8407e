package bustest

import (
	"net"
	"sync"
	"testing"
)

// door passes TCP connections on to a server until told otherwise. Safe from any goroutine.
type door struct {
	t       testing.TB
	address string // the same over shut and reopen
	target  string

	mu      sync.Mutex
	changed sync.Cond
	listen  net.Listener // nil while shut
	pairs   map[*pair]struct{}
	paused  bool
}

// pair is one connection through the door.
type pair struct{ outside, inside net.Conn }

func openDoor(t testing.TB, address, target string) *door {
	t.Helper()
	d := &door{t: t, address: address, target: target, pairs: make(map[*pair]struct{})}
	d.changed.L = &d.mu
	d.reopen()
	d.address = d.listen.Addr().String()
	return d
}

func (d *door) reopen() {
	d.t.Helper()
	l, err := net.Listen("tcp", d.address)
	if err != nil {
		d.t.Fatalf("bustest: %v", err)
	}
	d.mu.Lock()
	d.listen = l
	d.mu.Unlock()
	go d.accept(l)
}

func (d *door) shut() {
	d.mu.Lock()
	if d.listen != nil {
		_ = d.listen.Close()
		d.listen = nil
	}
	d.paused = false
	d.changed.Broadcast()
	d.mu.Unlock()
	d.sever()
}

func (d *door) sever() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p := range d.pairs {
		p.close()
	}
	clear(d.pairs)
}

func (d *door) pause() {
	d.mu.Lock()
	d.paused = true
	d.mu.Unlock()
}

func (d *door) resume() {
	d.mu.Lock()
	d.paused = false
	d.changed.Broadcast()
	d.mu.Unlock()
}

func (d *door) accept(l net.Listener) {
	for {
		outside, err := l.Accept()
		if err != nil {
			return
		}
		inside, err := net.Dial("tcp", d.target)
		if err != nil {
			_ = outside.Close()
			continue
		}
		p := &pair{outside, inside}
		d.mu.Lock()
		open := d.listen == l
		if open {
			d.pairs[p] = struct{}{}
		}
		d.mu.Unlock()
		if !open {
			p.close()
			return
		}
		go d.pass(p, outside, inside)
		go d.pass(p, inside, outside)
	}
}

// close resets both sides: bytes under way are lost, as when a machine dies.
func (p *pair) close() {
	for _, c := range []net.Conn{p.outside, p.inside} {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
}

func (d *door) pass(p *pair, from, to net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		d.mu.Lock()
		for d.paused {
			d.changed.Wait()
		}
		d.mu.Unlock()
		if n > 0 {
			if _, werr := to.Write(buffer[:n]); werr != nil {
				err = werr
			}
		}
		if err == nil {
			continue
		}
		d.mu.Lock()
		delete(d.pairs, p)
		d.mu.Unlock()
		_ = p.outside.Close() // not p.close: the last words of the server should arrive
		_ = p.inside.Close()
		return
	}
}
