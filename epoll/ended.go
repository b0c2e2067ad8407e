package epoll

import "golang.org/x/sys/unix"

// PeerEnded asks the kernel whether the peer has ended its side, which a connection that is not read from does not notice otherwise: one
// system call. Owned by the loop.
func (c *Conn) PeerEnded() bool {
	c.use()
	ask := []unix.PollFd{{Fd: c.fd, Events: unix.POLLRDHUP}}
	n, err := unix.Poll(ask, 0)
	return err == nil && n > 0
}
