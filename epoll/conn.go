package epoll

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Conn is one connection of a loop: 64 bytes, no pointers, one cache line. Owned by one loop.
type Conn struct {
	fd         int32
	slot       uint32
	generation uint32
	flags      flags
	listener   int16 // -1: dialled

	deadlineSec uint32 // set by Arm, or the end of the linger while finishing; 0: none
	linkedSec   uint32 // the second the wheel will look at us, while isLinked
	next, prev  uint32 // neighbours in the wheel's list

	tail     uint32 // unread bytes, in the loop's buffer table; 0: none
	batch    uint32 // unsent bytes, likewise
	movedSec uint32 // when the socket last took bytes, while isBlocked
	peerPort uint16
	cause    Cause // while isEnded
	discards uint8 // reads while isFinishing

	peer [16]byte
}

// flags are the state of a connection.
//
//	dialled -> isConnecting -\                    /-> isFinishing -> isShut -\
//	accepted -----------------+-> (open) --------+--------------------------+-> isEnded -> free
//	adopted -----------------/   isPaused …       \-> isDetached ------------/
type flags uint16

const (
	isLive       flags = 1 << iota // the slot is in use
	isConnecting                   // dialled, not yet answered
	isPaused                       // the owner wants no bytes
	isMuted                        // EPOLLIN is not armed
	isBlocked                      // the socket refused bytes; EPOLLOUT is armed
	isDirty                        // on the list for the flush
	isResumed                      // on the list of tails to offer again
	isFinishing                    // Finish was called
	isShut                         // our FIN is sent
	isEOF                          // the peer's FIN is read, while isFinishing
	isEnded                        // on the list to be freed at the end of the tick
	isDetached                     // isEnded, and the descriptor is no longer ours
	isLinked                       // in the wheel
	isIPv4                         // peer is an IPv4 address
	isTLS                          // StartTLS was called; the rest is in the loop's secures
)

func (c *Conn) is(any flags) bool { return c.flags&any != 0 }

// Slot is the index of the connection in its loop; it is reused after OnClose.
func (c *Conn) Slot() uint32 { return c.slot }

// Handle names the connection for as long as it lives.
func (c *Conn) Handle() Handle { return handleOf(c.slot, c.generation) }

// Listener is the index that Listen returned for the listener which accepted the connection, or -1 for a dialled one.
// An adopted connection keeps the index of the loop it came from.
func (c *Conn) Listener() int { return int(c.listener) }

// Peer is the remote address, not valid if unknown. IPv6 zones are not kept.
func (c *Conn) Peer() netip.AddrPort {
	switch {
	case c.is(isIPv4):
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(c.peer[:4])), c.peerPort)
	case c.peerPort == 0 && c.peer == [16]byte{}:
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom16(c.peer), c.peerPort)
}

func (c *Conn) setPeer(peer netip.AddrPort) {
	addr := peer.Addr().Unmap()
	c.peerPort = peer.Port()
	switch {
	case addr.Is4():
		c.flags |= isIPv4
		a := addr.As4()
		copy(c.peer[:], a[:])
	case addr.Is6():
		c.peer = addr.As16()
	}
}

// Blocked tells whether the socket has refused bytes that are still waiting.
func (c *Conn) Blocked() bool { return c.is(isBlocked) }

// Paused tells whether reading is paused.
func (c *Conn) Paused() bool { return c.is(isPaused) }

// Closing tells whether the connection is about to end: Close or Finish was called, or the peer or a limit ended it.
func (c *Conn) Closing() bool { return c.is(isEnded | isFinishing) }

// interest is what epoll shall report, derived from the flags.
func (c *Conn) interest() uint32 {
	var events uint32
	if !c.is(isMuted | isConnecting) {
		events |= unix.EPOLLIN
	}
	if c.is(isBlocked | isConnecting) {
		events |= unix.EPOLLOUT
	}
	return events
}
