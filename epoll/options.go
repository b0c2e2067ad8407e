package epoll

import (
	"errors"
	"net/netip"
)

// ErrStopped is what Listen, Dial and Adopt return once the loop has begun to stop.
var ErrStopped = errors.New("epoll: loop is stopped")

// Handler is told what happens to the connections of one loop; every method runs on the loop's goroutine.
type Handler interface {
	// OnOpen tells that a connection was accepted (c.Listener() >= 0) or a dial succeeded (c.Listener() == -1). It is
	// not called for Adopt.
	OnOpen(c *Conn)
	// OnData offers the kept tail followed by newly read bytes, and returns what is not yet consumed: any sub-slice
	// of p, which the handler may have overwritten or compacted in place. The loop keeps those bytes and offers them
	// again in front of the next ones, or after ResumeRead. p is borrowed until return.
	OnData(c *Conn, p []byte) (rest []byte)
	// OnDrained tells that a batch which the socket had refused is now wholly written.
	OnDrained(c *Conn)
	// OnTimeout tells that the deadline set with Arm has passed; the connection is disarmed by then.
	OnTimeout(c *Conn)
	// OnClose is called once for each connection that was accepted, dialled or adopted, never for a detached one. The
	// slot is reused after it.
	OnClose(c *Conn, why Cause)
}

// Ticker is told of the loop's ticks, on the loop's goroutine.
type Ticker interface {
	// OnWake follows a call of Wake, or the time set with WakeAt; many of either may be one OnWake.
	OnWake()
	// OnTickEnd is the last call before the flush of a tick. A tick happens at least once a second.
	OnTickEnd()
}

// Options are the limits of one loop. Zero fields take the defaults.
type Options struct {
	// ReadBytes is the length of the loop's shared read buffer, and so what one connection may deliver in a tick.
	// Default 64 KiB.
	ReadBytes int
	// TailBytesMax is how much the handler may leave unconsumed. Beyond it the connection ends with CauseTailTooLong.
	// Default 1 MiB + ReadBytes.
	TailBytesMax int
	// FlushBytes is the batch length above which End writes at once instead of at the end of the tick. Default 64
	// KiB.
	FlushBytes int
	// Admit is asked, on the loop, before an accepted connection gets a slot. False: the connection is reset at once
	// and counted in Stats.Refused. Dial and Adopt do not ask. nil lets everybody in.
	Admit func(listener int, peer netip.AddrPort) bool
	// AcceptsPerTick is how many connections one listener may bring in a tick; the rest wait in its backlog. Default
	// 64.
	AcceptsPerTick int
	// StallSec is how long unsent bytes may stay without any being written. Beyond it the connection ends with
	// CauseStalled, within two seconds. Default 30.
	StallSec uint32
	// KeepAliveSec is the idle time of an accepted connection before the kernel probes it. Four unanswered probes, a
	// quarter of this time apart, end it with CausePeerReset. Default 300.
	KeepAliveSec int
}

func (o Options) withDefaults() Options {
	setDefault(&o.ReadBytes, 64<<10)
	setDefault(&o.TailBytesMax, 1<<20+o.ReadBytes)
	setDefault(&o.FlushBytes, 64<<10)
	setDefault(&o.AcceptsPerTick, 64)
	setDefault(&o.KeepAliveSec, 300)
	if o.StallSec == 0 {
		o.StallSec = 30
	}
	return o
}

func setDefault(field *int, value int) {
	if *field <= 0 {
		*field = value
	}
}
