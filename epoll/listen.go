package epoll

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// acceptPause is how long the listeners rest when descriptors or memory have run out: long enough not to spin, short
// enough that a device hardly notices.
const acceptPause = 100 * time.Millisecond

// acceptRest is how long the listeners rest after a round of accepts when rounds follow each other within twice that
// time: a device that comes alone is accepted at once, and many are accepted together, and then read together, instead
// of waking the loop twice each. A CONNECT at 5,000 a second costs the gateway 30 us of CPU this way, 56 without.
const acceptRest = time.Millisecond

// backlog is how many connections may wait for accept; the kernel lowers it to net.core.somaxconn.
const backlog = 4096

// refusalsMax is how many connections a loop refuses in one acceptPause before its listeners rest for another: a flood
// of them costs accept and close, some 15 us each, and must not cost the connected devices more than a tenth of the
// core. The backlog is still emptied at this rate, so that nobody waits there for long.
const refusalsMax = 512

// listeners are the listening sockets of a loop. Owned by one loop.
type listeners struct {
	fds      []int // by index
	resumeAt int64 // end of the pause; 0: not paused
	took     int   // connections accepted in this tick
	roundAt  int64 // when connections were accepted last
	refused  int   // since refusedAt
	// refusedAt is when the present round of refusals began.
	refusedAt int64
	// spare is a descriptor to give up when there is none left: then one connection can be accepted, and closed, so
	// that its peer learns of it instead of waiting in the backlog. -1: none.
	spare int
}

func (s *listeners) openSpare() {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		fd = -1
	}
	s.spare = fd
}

func (s *listeners) closeSpare() {
	if s.spare >= 0 {
		unix.Close(s.spare)
		s.spare = -1
	}
}

// Listen opens one SO_REUSEPORT listener owned by this loop; the kernel spreads connections over the loops that
// listen on the same address. Accepted connections have TCP_NODELAY and keep-alive set. It returns the listener's
// index and its address, whose port the kernel has chosen if addr has port 0. An unspecified IPv6 address takes IPv4
// as well. Before Run or on the loop.
func (l *Loop) Listen(addr netip.AddrPort) (index int, bound netip.AddrPort, err error) {
	l.checkOwner()
	if l.stopped {
		return -1, bound, ErrStopped
	}
	if index = len(l.listeners.fds); index > math.MaxInt16 {
		return -1, bound, fmt.Errorf("epoll: more than %d listeners", math.MaxInt16)
	}
	fd, bound, err := listenSocket(addr, l.o.KeepAliveSec)
	if err != nil {
		return -1, bound, fmt.Errorf("listen on %s: %w", addr, err)
	}
	if err = l.poll.add(fd, unix.EPOLLIN, int32(index), 0); err != nil {
		unix.Close(fd)
		return -1, bound, fmt.Errorf("listen on %s: epoll_ctl: %w", addr, err)
	}
	l.listeners.fds = append(l.listeners.fds, fd)
	return index, bound, nil
}

// listenSocket returns a listening socket and its address.
func listenSocket(addr netip.AddrPort, keepAliveSec int) (fd int, bound netip.AddrPort, err error) {
	if fd, err = boundSocket(addr, keepAliveSec); err != nil {
		return -1, bound, err
	}
	var sa sockaddr
	if err = unix.Listen(fd, backlog); err != nil {
		err = fmt.Errorf("listen: %w", err)
	} else if err = sa.name(fd); err != nil {
		err = fmt.Errorf("getsockname: %w", err)
	}
	if err != nil {
		unix.Close(fd)
		return -1, bound, err
	}
	return fd, sa.get(), nil
}

// Probe tells whether Listen could have the address beside others that listen there with SO_REUSEPORT. It does not
// listen itself: the kernel would give it connections of theirs.
func Probe(addr netip.AddrPort) error {
	fd, err := boundSocket(addr, 1)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// boundSocket returns a socket with an address. What is set on it, the connections of the listener inherit.
func boundSocket(addr netip.AddrPort, keepAliveSec int) (fd int, err error) {
	var sa sockaddr
	if err = sa.set(addr); err != nil {
		return -1, err
	}
	fd, err = unix.Socket(int(sa.raw.Family), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	const probes = 4
	options := []struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAliveSec},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, max(1, keepAliveSec/probes)},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, probes},
	}
	for _, o := range options {
		if err = unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return -1, fmt.Errorf("setsockopt %d/%d: %w", o.level, o.name, err)
		}
	}
	if sa.raw.Family == unix.AF_INET6 {
		only := 1
		if addr.Addr().IsUnspecified() {
			only = 0
		}
		if err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return -1, fmt.Errorf("setsockopt IPV6_V6ONLY: %w", err)
		}
	}
	if err = sa.bind(fd); err != nil {
		return -1, fmt.Errorf("bind: %w", err)
	}
	return fd, nil
}

// EmptyListeners accepts whoever waits in a backlog and then closes the listeners, so that those are not reset. Who is
// in the middle of the TCP handshake still is, unless another socket listens on the address and net.ipv4.tcp_migrate_req
// is 1. Loop goroutine only.
func (l *Loop) EmptyListeners() {
	l.checkOwner()
	l.resumeNow()
	for i := range l.listeners.fds {
		for range backlog/l.o.AcceptsPerTick + 1 {
			before := l.stats.Accepts
			l.accept(i)
			if l.stats.Accepts == before {
				break
			}
		}
	}
	l.CloseListeners()
}

// CloseListeners stops accepting; connections still in a backlog are reset. Loop goroutine only.
func (l *Loop) CloseListeners() {
	l.checkOwner()
	for i, fd := range l.listeners.fds {
		if fd >= 0 {
			unix.Close(fd)
			l.listeners.fds[i] = -1
		}
	}
	l.listeners.resumeAt = 0
}

// accept takes connections from a listener's backlog, up to the budget of a tick.
func (l *Loop) accept(index int) {
	fd := l.listeners.fds[index]
	for range l.o.AcceptsPerTick {
		if fd < 0 || l.listeners.resumeAt != 0 {
			return
		}
		var from sockaddr
		conn, err := from.accept(fd)
		switch err {
		case nil:
			l.accepted(int32(conn), int16(index), from.get())
			// OnOpen may have closed the listeners.
			fd = l.listeners.fds[index]
		case unix.EAGAIN:
			return
		case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS:
			l.stats.AcceptErrors++
			l.refuseOne(fd)
			l.pauseListeners()
			return
		default:
			// accept4 also reports what went wrong with the connection it would have returned; the next may be well.
			l.stats.AcceptErrors++
		}
	}
}

// accepted gives a new connection a slot and tells the owner.
func (l *Loop) accepted(fd int32, listener int16, peer netip.AddrPort) {
	if l.o.Admit != nil && !l.o.Admit(int(listener), peer) {
		l.refuse(int(fd))
		return
	}
	c := l.take(fd, listener)
	c.setPeer(peer)
	if err := l.poll.add(int(fd), c.interest(), int32(c.slot), c.generation); err != nil {
		// Out of memory, or of fs.epoll.max_user_watches: the owner never saw it.
		l.stats.AcceptErrors++
		unix.Close(int(fd))
		l.release(c)
		l.pauseListeners()
		return
	}
	l.stats.Accepts++
	l.listeners.took++
	l.h.OnOpen(c)
}

// refuse resets a connection that was not admitted. A FIN would leave us a socket in TIME_WAIT for each.
func (l *Loop) refuse(fd int) {
	l.stats.Refused++
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(fd)
	s := &l.listeners
	if l.now-s.refusedAt >= int64(acceptPause) {
		s.refused, s.refusedAt = 0, l.now
	}
	if s.refused++; s.refused >= refusalsMax {
		l.pauseListeners()
	}
}

// refuseOne gives up the spare descriptor to accept one connection and close it.
func (l *Loop) refuseOne(listener int) {
	if l.listeners.spare < 0 {
		return
	}
	l.listeners.closeSpare()
	var from sockaddr
	if fd, err := from.accept(listener); err == nil {
		l.stats.Starved++
		unix.Close(fd)
	}
	l.listeners.openSpare()
}

// pauseListeners makes the kernel keep new connections to itself for a while. Descriptors belong to the process, so
// all listeners pause together.
func (l *Loop) pauseListeners() {
	l.stats.AcceptPauses++
	l.listeners.resumeAt = l.now + int64(acceptPause)
	l.armListeners(0)
}

// restListeners ends a tick's round of accepts, once every listener that was ready has had its turn: the listeners rest if
// there was a round a moment ago, too, and nobody is known to wait.
func (l *Loop) restListeners() {
	s := &l.listeners
	if s.took == 0 {
		return
	}
	again := l.now-s.roundAt < 2*int64(acceptRest)
	if again && s.took < l.o.AcceptsPerTick && s.resumeAt == 0 {
		s.resumeAt = l.now + int64(acceptRest)
		l.armListeners(0)
	}
	s.took, s.roundAt = 0, l.now
}

// resumeListeners ends a pause whose time is over.
func (l *Loop) resumeListeners() {
	if at := l.listeners.resumeAt; at != 0 && l.now >= at {
		l.resumeNow()
	}
}

func (l *Loop) resumeNow() {
	if l.listeners.resumeAt == 0 {
		return
	}
	l.listeners.resumeAt = 0
	if l.listeners.spare < 0 {
		l.listeners.openSpare()
	}
	l.armListeners(unix.EPOLLIN)
}

func (l *Loop) armListeners(events uint32) {
	for i, fd := range l.listeners.fds {
		if fd < 0 {
			continue
		}
		if err := l.poll.modify(fd, events, int32(i), 0); err != nil {
			panic(fmt.Sprintf("epoll: modify listener %d: %v", i, err))
		}
	}
}
