package epoll

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// eventsMax is how many events one wait returns. The kernel reports the others first the next time.
const eventsMax = 512

// wakeTag is the event data of the eventfd; listeners have their index there, both with generation 0.
const wakeTag = -1

// poller is the epoll set and the eventfd that interrupts its wait. Owned by one loop, except ring.
type poller struct {
	epfd   int
	wakefd int
	coarse bool // the kernel has no epoll_pwait2
	events [eventsMax]unix.EpollEvent
}

func (p *poller) open() (err error) {
	if p.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll_create1: %w", err)
	}
	if p.wakefd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(p.epfd)
		return fmt.Errorf("eventfd: %w", err)
	}
	if err = p.add(p.wakefd, unix.EPOLLIN|unix.EPOLLET, wakeTag, 0); err != nil {
		p.close()
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

func (p *poller) close() {
	unix.Close(p.wakefd)
	unix.Close(p.epfd)
}

// add puts fd into the set; tag and generation come back with its events.
func (p *poller) add(fd int, events uint32, tag int32, generation uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: tag, Pad: int32(generation)}
	return unix.EpollCtl(p.epfd, unix.EPOLL_CTL_ADD, fd, &ev)
}

func (p *poller) modify(fd int, events uint32, tag int32, generation uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: tag, Pad: int32(generation)}
	return unix.EpollCtl(p.epfd, unix.EPOLL_CTL_MOD, fd, &ev)
}

func (p *poller) remove(fd int) error {
	return unix.EpollCtl(p.epfd, unix.EPOLL_CTL_DEL, fd, nil)
}

var one = [8]byte{1}

// ring ends a sleep. Safe from any goroutine while the poller is open.
func (p *poller) ring() {
	// The counter can not be full, so this fails only for reasons that are ours.
	if _, err := unix.Write(p.wakefd, one[:]); err != nil {
		panic(fmt.Sprintf("epoll: write to eventfd %d: %v", p.wakefd, err))
	}
}

// look returns what is ready now. It never blocks, so the scheduler need not know of it.
func (p *poller) look() (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epfd),
		uintptr(unsafe.Pointer(&p.events)), eventsMax, 0, 0, 0)
	return p.waited(int(n), errno)
}

// timespec is what the kernel calls __kernel_timespec, on every architecture.
type timespec struct{ sec, nsec int64 }

// sleep waits for at most d; where the kernel knows only milliseconds, for the next whole one. hidden: the scheduler is
// not told.
func (p *poller) sleep(d time.Duration, hidden bool) (int, error) {
	if !p.coarse {
		n, errno := p.pwait2(d, hidden)
		// A kernel before 5.11 says ENOSYS; a seccomp filter that does not know the call, EPERM.
		if errno != unix.ENOSYS && errno != unix.EPERM {
			return p.waited(int(n), errno)
		}
		p.coarse = true
	}
	ms := (d + time.Millisecond - 1) / time.Millisecond
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epfd),
		uintptr(unsafe.Pointer(&p.events)), eventsMax, uintptr(ms), 0, 0)
	return p.waited(int(n), errno)
}

func (p *poller) pwait2(d time.Duration, hidden bool) (n uintptr, errno unix.Errno) {
	ts := timespec{int64(d / time.Second), int64(d % time.Second)}
	if hidden {
		n, _, errno = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.epfd),
			uintptr(unsafe.Pointer(&p.events)), eventsMax, uintptr(unsafe.Pointer(&ts)), 0, 0)
		return n, errno
	}
	n, _, errno = unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.epfd),
		uintptr(unsafe.Pointer(&p.events)), eventsMax, uintptr(unsafe.Pointer(&ts)), 0, 0)
	return n, errno
}

func (p *poller) waited(n int, errno unix.Errno) (int, error) {
	switch errno {
	case 0:
	case unix.EINTR:
		n = 0
	default:
		return 0, fmt.Errorf("epoll_pwait: %w", errno)
	}
	return n, nil
}

// rearm tells the kernel what the connection's flags now ask for.
func (l *Loop) rearm(c *Conn) {
	if err := l.poll.modify(int(c.fd), c.interest(), int32(c.slot), c.generation); err != nil {
		panic(fmt.Sprintf("epoll: modify descriptor %d of slot %d: %v", c.fd, c.slot, err))
	}
}
