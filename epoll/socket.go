package epoll

import (
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// recv and send are raw system calls: with MSG_DONTWAIT they do not block, and the scheduler need not know of them.
// BenchmarkEcho, 100 ready: 4.4 µs an echo against 4.75 µs with Syscall6. MSG_NOSIGNAL spares the SIGPIPE of a write
// to a reset connection.

func recv(fd int32, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func send(fd int32, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// sockaddr is an address as the kernel wants it. x/sys has the same behind an interface, at two allocations a call;
// accepting and dialling are to be free of them.
type sockaddr struct {
	raw    unix.RawSockaddrInet6 // or RawSockaddrInet4, by Family
	length uint32
}

func (s *sockaddr) inet4() *unix.RawSockaddrInet4 {
	return (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
}

// port is the place of the port, the same in both families, in network order.
func (s *sockaddr) port() *[2]byte { return (*[2]byte)(unsafe.Pointer(&s.raw.Port)) }

var errZone = errors.New("epoll: addresses with a zone are not supported")

func (s *sockaddr) set(a netip.AddrPort) error {
	addr := a.Addr().Unmap()
	if addr.Zone() != "" {
		return errZone
	}
	*s = sockaddr{}
	if addr.Is4() {
		s.raw.Family, s.length = unix.AF_INET, unix.SizeofSockaddrInet4
		s.inet4().Addr = addr.As4()
	} else {
		s.raw.Family, s.length = unix.AF_INET6, unix.SizeofSockaddrInet6
		s.raw.Addr = addr.As16()
	}
	*s.port() = [2]byte{byte(a.Port() >> 8), byte(a.Port())}
	return nil
}

func (s *sockaddr) get() netip.AddrPort {
	port := uint16(s.port()[0])<<8 | uint16(s.port()[1])
	switch s.raw.Family {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4(s.inet4().Addr), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(s.raw.Addr).Unmap(), port)
	}
	return netip.AddrPort{}
}

func (s *sockaddr) bind(fd int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&s.raw)), uintptr(s.length))
	return errnoErr(errno)
}

// connect is told to the scheduler: over loopback it carries the whole handshake, some 20 µs.
func (s *sockaddr) connect(fd int) error {
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&s.raw)), uintptr(s.length))
	return errnoErr(errno)
}

// name sets s to the address that fd is bound to.
func (s *sockaddr) name(fd int) error {
	s.length = unix.SizeofSockaddrInet6
	_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd),
		uintptr(unsafe.Pointer(&s.raw)), uintptr(unsafe.Pointer(&s.length)))
	return errnoErr(errno)
}

// accept takes a connection from the backlog of fd and sets s to its remote address.
func (s *sockaddr) accept(fd int) (int, error) {
	s.length = unix.SizeofSockaddrInet6
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd),
		uintptr(unsafe.Pointer(&s.raw)), uintptr(unsafe.Pointer(&s.length)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(n), errnoErr(errno)
}

func errnoErr(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}
