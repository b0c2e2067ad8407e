package epoll

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Dial begins a connection and returns at once: OnOpen follows when the peer has answered, otherwise
// OnClose(CauseDialFailed). Bytes put into the batch meanwhile are written after OnOpen. local may be the zero Addr;
// if not, the kernel chooses the port at connect, so that each local address offers its whole port range towards each
// remote one. An error means that nothing was begun: no descriptor, no port, no route. The kernel gives up on a
// silent peer after two minutes; Arm the connection for less. Loop goroutine only.
func (l *Loop) Dial(local netip.Addr, remote netip.AddrPort) (*Conn, error) {
	l.checkOwner()
	if l.stopped {
		return nil, ErrStopped
	}
	fd, err := dialSocket(local, remote)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", remote, err)
	}
	c := l.take(int32(fd), -1)
	c.flags |= isConnecting
	c.setPeer(remote)
	if err := l.poll.add(fd, c.interest(), int32(c.slot), c.generation); err != nil {
		unix.Close(fd)
		l.release(c)
		return nil, fmt.Errorf("dial %s: epoll_ctl: %w", remote, err)
	}
	l.stats.Dials++
	return c, nil
}

// dialSocket returns a socket that is connecting: four system calls, two more with a local address.
func dialSocket(local netip.Addr, remote netip.AddrPort) (fd int, err error) {
	var sa sockaddr
	if err = sa.set(remote); err != nil {
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
	if err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return -1, fmt.Errorf("setsockopt TCP_NODELAY: %w", err)
	}
	if local.IsValid() {
		if err = bindAddress(fd, local); err != nil {
			return -1, err
		}
	}
	if err = sa.connect(fd); err != nil && err != unix.EINPROGRESS {
		return -1, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}

// bindAddress binds to an address without a port.
func bindAddress(fd int, local netip.Addr) error {
	var sa sockaddr
	if err := sa.set(netip.AddrPortFrom(local, 0)); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return fmt.Errorf("setsockopt IP_BIND_ADDRESS_NO_PORT: %w", err)
	}
	if err := sa.bind(fd); err != nil {
		return fmt.Errorf("bind to %s: %w", local, err)
	}
	return nil
}

// dialled acts on the answer to a dial.
func (l *Loop) dialled(c *Conn, events uint32) {
	if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		l.end(c, CauseDialFailed)
		return
	}
	c.flags &^= isConnecting
	l.rearm(c)
	if c.batch != 0 {
		l.soil(c)
	}
	l.h.OnOpen(c)
}
