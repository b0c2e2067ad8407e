package main

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stamped is a connection of whose bytes the kernel notes the time.
type stamped struct {
	*net.TCPConn
	raw  syscall.RawConn
	at   time.Time // when the last bytes read had come
	note []byte    // what the kernel writes the time to
}

func newStamped(c *net.TCPConn) (*stamped, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var refused error
	err = raw.Control(func(fd uintptr) {
		refused = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
	})
	if err == nil {
		err = refused
	}
	return &stamped{TCPConn: c, raw: raw, note: make([]byte, unix.CmsgSpace(int(unsafe.Sizeof(unix.Timespec{}))))}, err
}

func (s *stamped) Read(p []byte) (n int, err error) {
	var noted int
	if e := s.raw.Read(func(fd uintptr) bool {
		n, noted, _, _, err = unix.Recvmsg(int(fd), p, s.note, 0)
		return err != unix.EAGAIN
	}); e != nil {
		return 0, e
	}
	switch {
	case err != nil:
		return 0, os.NewSyscallError("recvmsg", err)
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	case noted > 0:
		at := (*unix.Timespec)(unsafe.Pointer(&s.note[unix.CmsgLen(0)]))
		s.at = time.Unix(at.Unix())
	}
	return n, nil
}
