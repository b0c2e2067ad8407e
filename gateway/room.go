package gateway

import (
	"fmt"
	"sync/atomic"
	"syscall"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/ws"
)

// room is how many connections the process holds and may hold. One that comes when it is full is accepted all the same, out
// of a reserve of descriptors, and told to try again later: CONNACK 0x97, return code 3 to MQTT 3.x, HTTP 503. So its
// device does not wait for an answer that never comes, and the next attempt, from another port, may reach another
// gateway that shares the address. When the reserve is in use as well, connections are reset.
//
// A full gateway goes on listening, also beside others on a shared port. Closing its listeners would send new devices
// to the others at once, but resets those in the middle of the TCP handshake, and when all are full nobody would be left
// to say so: a refused connection and a gateway that is down would look the same. The kernel spreads connections so evenly
// (seven gateways of 17,000 devices differ by some hundred) that one is full only when nearly all are.
//
// Safe from any goroutine.
type room struct {
	max  int64
	open atomic.Int64
	full atomic.Bool // until there is room for a hundredth, so that readiness does not flap
}

// The reserve of descriptors is for what is not a device: NATS, files, the admin server, and the connections that are
// refused, which may take half of it; and for each loop what it opens itself, its listeners, and a few refusals.
const (
	reserveMin      = 64
	reserveFraction = 100
	loopDescriptors = 3 // epoll, eventfd, spare
	refusalsMin     = 4 // connections that a loop refuses with an answer at a time, at least
)

// refusalSec is how long a refused connection may take to say what it wants.
const refusalSec = 2

// reserve is how many of limit descriptors are not for devices, and how many of these a loop may use for refusals.
func reserve(limit, loops, listeners int) (kept, refusals int) {
	shared := max(reserveMin, limit/reserveFraction)
	return shared + loops*(loopDescriptors+listeners+refusalsMin), refusalsMin + shared/2/loops
}

// openFilesMax is RLIMIT_NOFILE. The Go runtime has raised it when the process began, to one less than the hard
// limit.
func openFilesMax() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("getrlimit: %w", err)
	}
	return int(min(limit.Cur, 1<<30)), nil
}

// fit sets how many connections there is room for: as many as descriptors allow, or limits.connections_max if that is less.
func (g *Gateway) fit() error {
	limit, err := openFilesMax()
	if err != nil {
		return err
	}
	kept, refusals := reserve(limit, g.cfg.Loops, len(g.cfg.Listeners))
	fits, asked := limit-kept, g.cfg.Limits.ConnectionsMax
	if fits < 1 {
		return fmt.Errorf("the process may open %d files, and the gateway needs %d without any device; raise the limit (ulimit -n, LimitNOFILE=) to that and the number of devices", limit, kept)
	}
	if asked > fits {
		g.log.Warn().Int("limits.connections_max", asked).Int("open_files_max", limit).Int("connections_max", fits).
			Msg("descriptors do not suffice for limits.connections_max; raise ulimit -n")
	}
	if asked == 0 || asked > fits {
		asked = fits
	}
	g.room.max, g.refusalsMax = int64(asked), refusals
	if err := epoll.WidenDescriptors(min(limit, asked+kept, tableMax)); err != nil {
		g.log.Debug().Err(err).Msg("the table of descriptors grows with the connections")
	}
	return nil
}

// tableMax is how wide the table of descriptors is made at once, at 8 bytes each.
const tableMax = 1 << 16

// enter takes a place; false: there is none.
func (r *room) enter() bool {
	n := r.open.Add(1)
	if n >= r.max {
		r.full.Store(true)
	}
	if n > r.max {
		r.open.Add(-1)
		return false
	}
	return true
}

// leave gives it back.
func (r *room) leave() { r.open.Add(-1) }

// state is how many connections there are; full: there was no more room, and there is not yet for a hundredth.
func (r *room) state() (open int64, full bool) {
	open = r.open.Load()
	if r.full.Load() && open <= r.max-max(1, r.max/reserveFraction) {
		r.full.Store(false)
	}
	return open, r.full.Load()
}

// noUpgrade is the policy towards who may not stay; status is asked for the one at hand.
func noUpgrade(origins []string, status func() int) ws.Policy {
	return ws.Policy{Origins: origins, Accept: func([]byte, []string) (string, int) { return "", status() }}
}
