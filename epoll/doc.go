// Package epoll is readiness, connections, timers and TLS: bytes in, bytes out.
//
// A Loop owns everything it touches: listeners, connections, their unread bytes (the tail), their unsent bytes (the
// batch), deadlines and counters. One goroutine, the one that calls Run, is the owner. Only Wake and Stop are safe
// from any goroutine; everything else is called on the loop, which means from a Handler or Ticker method, or before
// Run.
//
// # A tick
//
//	wait -> clock -> ready connections -> OnWake -> resumed tails -> timers -> OnTickEnd -> flush -> OnClose and free
//
// OnWake follows a Wake, or the time that WakeAt has set: connections have deadlines in whole seconds, the loop's owner
// has one alarm to the precision of the kernel.
//
// The clock that Now shows is read once. A ready connection is read once, so a flood costs its neighbours one read a
// tick and no more. Each connection is written once, at the flush; only a batch that outgrows Options.FlushBytes is
// written before. Nothing is freed before the end of the tick: a *Conn stays good from the callback that showed it
// until the end of its OnClose, or until the end of the tick in which it was detached. What outlives that is a
// Handle.
//
// # Bytes
//
// What OnData gets is borrowed until it returns. What it hands back is kept by the loop and shown again, in front of
// the next bytes. Begin lends the batch to append to and End takes it back; between them no other call may touch the
// same connection's batch.
//
// # The end of a connection
//
// Close, Finish, the peer, or a limit ends a connection; OnClose is told once, at the end of the tick, with the
// cause. Detach is the exception: the connection goes on elsewhere, so OnClose is not told.
//
// # TLS
//
// StartTLS makes a connection secured: crypto/tls does the handshake on a worker of a Handshaker, while the loop reads and
// writes for it; then OnSecured is told, the tls.Conn is dropped, and the loop opens and seals records itself (package
// record). From then on OnData and Begin are plaintext.
//
//	recv -> cbuf -> Open, in place -> OnData -> tail            (a part of a record waits as ciphertext)
//	Begin, End -> batch -> Seal at the flush -> send            (what the socket refuses waits as ciphertext)
//
// The end of input is close_notify or FIN, whichever comes first; Finish sends both.
//
// # Check builds
//
// With -race or -tags gwcheck the loop verifies its owner, overwrites borrowed bytes when the loan ends, and tests
// its invariants after each tick.
package epoll
