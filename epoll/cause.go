package epoll

// Cause is why a connection ended.
type Cause uint8

const (
	CauseNone        Cause = iota
	CauseClosed            // we closed it: Close, or a Finish whose goodbye was written
	CausePeerClosed        // FIN
	CausePeerReset         // RST or another socket error
	CauseDialFailed        // refused, unreachable, or timed out in the kernel
	CauseStalled           // unsent bytes did not move for Options.StallSec, or not within the linger of Finish
	CauseTailTooLong       // the handler kept more than Options.TailBytesMax
	CauseStopped           // the loop stopped
	CauseHandshake         // the TLS handshake failed; why is in Stats.HandshakeFails
	CauseBadRecord         // what came over TLS was no record of the peer's, or against the rules; the peer was told

	causes = int(CauseBadRecord) + 1
)

var causeNames = [causes]string{
	"none", "closed", "peer closed", "peer reset", "dial failed", "stalled", "tail too long", "stopped",
	"handshake failed", "bad TLS record",
}

// String returns the cause in words.
func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return "unknown cause"
}
