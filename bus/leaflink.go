package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// LeafStatus is what is known of the link to the hub, and of the hub's copy of the log.
type LeafStatus struct {
	Up  bool   // the link stands
	Ups uint64 // times it came up
	// CopyErr is why the hub does not copy the log, and how to mend that; nil: it does, it was not asked for, or is not known yet.
	CopyErr error
	Copied  bool   // the hub has a copy, Lag is known
	Lag     uint64 // messages of the log that the hub did not have when both were last asked; those since it was last heard count
}

// leafLink watches the link to the hub, and has the hub copy the log. One goroutine runs it; Status is safe from any.
type leafLink struct {
	bus    *Bus
	nats   *nats.Conn // here and hub are for this one
	here   jetstream.JetStream
	hub    jetstream.JetStream
	copied uint64    // last sequence that the hub is known to have
	askAt  time.Time // the next look at the copy
	failed int       // looks at it in a row

	mu     sync.Mutex
	status LeafStatus
}

const (
	leafLookTime = time.Second
	leafAskTime  = 10 * time.Second // between two looks at the copy
	leafWaitTime = 5 * time.Second  // of one question to the hub
)

// Leaf tells of the link to the hub; the zero value without Options.Leaf. Safe from any goroutine, never blocks.
func (b *Bus) Leaf() LeafStatus {
	if b.leaf == nil {
		return LeafStatus{}
	}
	b.leaf.mu.Lock()
	defer b.leaf.mu.Unlock()
	return b.leaf.status
}

func (x *leafLink) run(ctx context.Context) {
	t := time.NewTicker(leafLookTime)
	defer t.Stop()
	for {
		x.look(ctx)
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// look finds out whether the link stands, and looks after the copy when it is time.
func (x *leafLink) look(ctx context.Context) {
	next := x.bus.Leaf()
	was := next
	if next.Up = x.bus.server.server.NumLeafNodes() > 0; next.Up && !was.Up {
		next.Ups++
		x.askAt, x.failed = time.Time{}, 0
	}
	if x.bus.options.Durable != nil && x.bus.options.Leaf.HubDomain != "" && !time.Now().Before(x.askAt) {
		x.askAt = time.Now().Add(leafAskTime)
		x.lookAtCopy(ctx, &next)
	}
	if ctx.Err() != nil {
		return
	}
	x.mu.Lock()
	x.status = next
	x.mu.Unlock()
	if next.Up != was.Up || text(next.CopyErr) != text(was.CopyErr) || next.Copied != was.Copied {
		x.bus.options.OnLeaf(next)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// lookAtCopy asks how far the copy is, and has it made if there is none. While the link is down only the lag grows.
func (x *leafLink) lookAtCopy(ctx context.Context, s *LeafStatus) {
	w := x.bus.echo.now.Load()
	if w == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leafWaitTime)
	defer cancel()
	if err := x.use(w.nc); err != nil {
		s.CopyErr = err
		return
	}
	if s.Up {
		switch err := x.ask(ctx); {
		case err == nil:
			s.CopyErr, s.Copied, x.failed = nil, true, 0
		case x.failed == 0: // the link may have just come up, or be about to go
			x.failed, x.askAt = 1, time.Now().Add(leafLookTime)
			return
		default:
			x.failed++
			s.CopyErr = err
			return
		}
	}
	log, err := x.here.Stream(ctx, streamLog) // after the copy was asked, so that it has no less
	if err != nil {
		return // it is made anew, or soon; durable looks after that
	}
	last := log.CachedInfo().State.LastSeq
	switch {
	case !s.Copied:
	case last < x.copied:
		s.CopyErr = fmt.Errorf("bus: the log ends before its copy at the hub, %s, which ends at %d: the log was made anew, or lost its end with the power, and what is stored below that is not copied; "+
			"keep the copy with `nats stream backup`, and remove it with `nats stream rm` at the hub: it is made again", LogCopy(x.bus.options.Leaf.Domain), x.copied)
	default:
		s.Lag = last - x.copied
	}
}

// use asks over a connection from now on.
func (x *leafLink) use(nc *nats.Conn) (err error) {
	if x.nats == nc {
		return nil
	}
	if x.here, err = jetstream.New(nc); err == nil {
		x.hub, err = jetstream.NewWithDomain(nc, x.bus.options.Leaf.HubDomain)
	}
	if err != nil {
		return fmt.Errorf("bus: JetStream: %w", err)
	}
	x.nats = nc
	return nil
}

// ask learns how far the copy is, and makes it.
func (x *leafLink) ask(ctx context.Context) error {
	o := x.bus.options.Leaf
	want := x.bus.options.Durable.logCopy(o.Domain)
	s, err := x.hub.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = x.make(ctx, want)
	}
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fmt.Errorf("bus: JetStream of the hub does not answer in the domain %q: %w; is nats.leaf.hub_domain the `jetstream { domain }` of the hub, "+
			"and may the leaf's user publish to $JS.%[1]s.API.>?", o.HubDomain, err)
	case err != nil:
		return fmt.Errorf("bus: the hub's copy of the log, %s: %w", want.Name, err)
	}
	info := s.CachedInfo()
	if m := info.Config.Mirror; m == nil || m.Name != streamLog || m.External == nil || m.External.APIPrefix != want.Mirror.External.APIPrefix {
		return fmt.Errorf("bus: the hub has a stream %s that is no copy of the log of the domain %q; rename one of them (nats.leaf.domain)", want.Name, o.Domain)
	}
	x.copied = info.State.LastSeq
	return nil
}

// make has the hub copy the log: with three replicas where it has so many servers.
func (x *leafLink) make(ctx context.Context, want jetstream.StreamConfig) (jetstream.Stream, error) {
	want.Replicas = replicasWished
	s, err := x.hub.CreateStream(ctx, want)
	if isMakeErr(err, makeErrNoPeers, makeErrNotClustered) {
		want.Replicas = 1
		s, err = x.hub.CreateStream(ctx, want)
	}
	return s, err
}

// logCopy is the hub's copy of the log of a site. It is a mirror: it has the sequence numbers of the log, and so each message once, in order. The limits
// are those of the log; who wants others at the hub edits them there.
func (d *Durable) logCopy(domain string) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: LogCopy(domain), Description: "tidegate: copy of the log of the site " + domain,
		Mirror:  &jetstream.StreamSource{Name: streamLog, External: &jetstream.ExternalStream{APIPrefix: "$JS." + domain + ".API"}},
		MaxMsgs: -1, MaxConsumers: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxBytes: -1,
		MaxAge: d.LogAge, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage, AllowDirect: true, AllowMsgTTL: true,
	}
	if d.LogBytes > 0 {
		c.MaxBytes = d.LogBytes
	}
	return c
}
