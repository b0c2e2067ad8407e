package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Durable says what JetStream keeps for devices.
type Durable struct {
	// Replicas of the streams and buckets we make: 1 to 5. 0: 1 with the embedded server; else 3, or 1 while NATS has fewer servers.
	Replicas int
	// LogAge and LogBytes limit the log; what is older or beyond is removed, the oldest first. 0: no limit.
	LogAge   time.Duration
	LogBytes int64
	// Streams are the user's own streams that messages may be stored in: Message.Stream n is Streams[n-1]. They must exist.
	Streams []string
	// Sync is when the embedded server syncs what is stored to disk: "page-cache" (or ""), "interval" or "always"; the streams
	// themselves survive a loss of power in each. An external NATS decides itself.
	Sync string
	// SyncInterval is the time between two syncs with "interval"; 0: one second.
	SyncInterval time.Duration
}

// Errors of Ready; compare with errors.Is.
var (
	ErrNoJetStream = errors.New("bus: the NATS server has no JetStream; nothing can be stored there")
	ErrNotDurable  = errors.New("bus: opened without JetStream")

	errNotYet = errors.New("bus: JetStream has not been asked yet")
)

// durable makes and watches what Durable names, on one goroutine. It uses the echo link, because requests are its work; nobody waits for it.
//
// It looks at start, when a link has a new wire, and when a Storer doubts: nobody answered, or not in time. Methods are safe
// from any goroutine.
type durable struct {
	bus    *Bus
	look   chan struct{} // something may have changed
	done   chan struct{}
	took   []streamState // by Message.Stream
	nats   *nats.Conn    // js is for this one; of run
	js     jetstream.JetStream
	few    time.Time // since when NATS has too few servers for the replicas; of run
	lack   bool      // a stream has fewer replicas than wished; of run
	synced bool      // the streams are on disk; of run. Those of an earlier process may not be

	mu    sync.Mutex
	ready bool
	err   error
}

// streamState is what a Storer needs to know of one stream.
type streamState struct {
	mode     atomic.Uint32
	subjects atomic.Pointer[[]string] // of a user's stream
}

// Modes of a stream.
const (
	streamUnknown uint32 = iota // not there, or not asked for yet
	streamBatches               // takes fast batches
	streamSingles               // does not
	streamBroken                // the embedded server's disk takes nothing
)

const (
	lookTime      = 5 * time.Second // of one request
	lookPauseMin  = 100 * time.Millisecond
	lookPauseMax  = 5 * time.Second
	lookFewTime   = 15 * time.Second // that a cluster gets to assemble
	lookAgainTime = time.Minute      // for replicas that are lacking
)

func newDurable(b *Bus) *durable {
	return &durable{
		bus: b, look: make(chan struct{}, 1), done: make(chan struct{}), err: errNotYet,
		took: make([]streamState, 1+len(b.options.Durable.Streams)),
	}
}

// check finds mistakes in Durable.
func (d *Durable) check(embedded bool) error {
	switch d.Sync {
	case "", "page-cache", "interval", "always":
	default:
		return fmt.Errorf("bus: sync %q: choose page-cache, interval or always", d.Sync)
	}
	if d.Replicas < 0 || d.Replicas > 5 || d.Replicas > 1 && embedded {
		return fmt.Errorf("bus: %d replicas: choose 1 to 5, and 1 with the embedded NATS, which is alone", d.Replicas)
	}
	if d.LogAge < 0 || d.LogAge > 0 && d.LogAge < time.Second || d.LogBytes < 0 {
		return fmt.Errorf("bus: the log is limited to %v and %d bytes: choose a second and more, or 0 for no limit", d.LogAge, d.LogBytes)
	}
	return nil
}

// Ready tells whether the log, the buckets and the user's streams are there; else why not, and how to mend it. The Bus makes what
// is missing and tries again until it can. With NATS away it keeps the last answer; Status tells that. Safe from any goroutine, never blocks.
func (b *Bus) Ready() (bool, error) {
	d := b.durable
	if d == nil {
		return false, ErrNotDurable
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ready, d.err
}

// doubt has the streams looked at soon.
func (d *durable) doubt() {
	select {
	case d.look <- struct{}{}:
	default:
	}
}

func (d *durable) run(ctx context.Context) {
	defer close(d.done)
	pause := lookPauseMin
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		err := d.lookAt(ctx)
		if ctx.Err() != nil {
			return
		}
		d.tell(err)
		t.Stop()
		switch {
		case err != nil:
			t.Reset(pause)
			pause = min(2*pause, lookPauseMax)
		case d.lack:
			t.Reset(lookAgainTime)
		}
		if err == nil {
			pause = lookPauseMin
		}
		select {
		case <-d.look:
			t.Reset(lookPauseMin) // not in a circle
			select {
			case <-t.C:
			case <-ctx.Done():
			}
		case <-t.C:
		case <-ctx.Done():
		}
	}
}

// tell publishes what a look found. What may be otherwise in a moment (no leader, no answer, no connection) takes nothing back.
func (d *durable) tell(err error) {
	d.mu.Lock()
	was := d.ready
	if err == nil || !was || isLasting(err) {
		d.ready, d.err = err == nil, err
	}
	d.mu.Unlock()
	d.bus.wakeStorers() // one stream may be there while another is not
	if err == nil && !was {
		d.bus.LogEnd(0, func(uint64, error) {}) // for LogSeen
		d.bus.options.OnReady()
	}
}

// unfitError is about a stream that is there or not, in a way that will not pass.
type unfitError struct{ error }

func (e unfitError) Unwrap() error { return e.error }

func isLasting(err error) bool {
	var u unfitError
	return errors.As(err, &u)
}

// lookAt looks at all streams once.
func (d *durable) lookAt(ctx context.Context) error {
	w := d.bus.echo.now.Load()
	if w == nil {
		return ErrDisconnected
	}
	if d.nats != w.nc {
		js, err := jetstream.New(w.nc, jetstream.WithDefaultTimeout(lookTime))
		if err != nil {
			return fmt.Errorf("bus: JetStream: %w", err)
		}
		d.nats, d.js = w.nc, js
	}
	if d.bus.server != nil {
		if err := d.bus.server.mend(); err != nil {
			for i := range d.took {
				d.took[i].mode.Store(streamBroken)
			}
			return unfitError{err}
		}
	}
	changed, err := d.lookAtOwn(ctx)
	errs := []error{err}
	if err == nil && d.bus.server != nil && (changed || !d.synced) {
		err = d.bus.server.syncStreams()
		d.synced = err == nil
		errs = append(errs, err)
	}
	if !errors.Is(err, ErrNoJetStream) {
		for i, name := range d.bus.options.Durable.Streams {
			errs = append(errs, d.lookAtUsers(ctx, 1+i, name))
		}
	}
	return errors.Join(errs...)
}

// lookAtOwn makes our streams.
func (d *durable) lookAtOwn(ctx context.Context) (changed bool, err error) {
	d.lack = false
	replicas := d.bus.options.Durable.Replicas
	auto := replicas == 0
	if auto {
		replicas = replicasWished
		if d.bus.server != nil {
			replicas = 1
		}
	}
	for _, want := range d.bus.options.Durable.ownStreams(replicas) {
		have, made, err := ensure(ctx, d.js, &want)
		if auto && want.Replicas > 1 && d.tooFew(err) {
			d.lack = isMakeErr(err, makeErrNoPeers)
			want.Replicas = 1
			have, made, err = ensure(ctx, d.js, &want)
		}
		if err != nil {
			return changed, d.failed(0, want.Name == streamLog, err)
		}
		changed = changed || made
		if want.Name == streamLog {
			d.learn(0, &have)
		}
	}
	return changed, nil
}

// tooFew tells whether NATS has too few servers for the replicas, and will not get more in a moment.
func (d *durable) tooFew(err error) bool {
	switch {
	case isMakeErr(err, makeErrNotClustered):
		return true
	case !isMakeErr(err, makeErrNoPeers):
		return false
	}
	if d.few.IsZero() {
		d.few = time.Now()
	}
	return time.Since(d.few) >= lookFewTime
}

func (d *durable) lookAtUsers(ctx context.Context, stream int, name string) error {
	have, err := checkUsers(ctx, d.js, name)
	if err != nil {
		return d.failed(stream, true, err)
	}
	d.took[stream].subjects.Store(&have.Subjects)
	d.learn(stream, &have)
	return nil
}

// learn lets Storers store in a stream.
func (d *durable) learn(stream int, have *jetstream.StreamConfig) {
	mode := streamSingles
	if have.AllowBatchPublish {
		mode = streamBatches
	}
	d.took[stream].mode.Store(mode)
}

// failed sorts an error of a look; store: it concerns where a Storer stores.
func (d *durable) failed(stream int, store bool, err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return ErrNoJetStream
	case errors.As(err, &api) && api.Code >= 500 || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, context.Canceled) || isMakeErr(err, makeErrNoPeers, makeErrNameInUse):
		return err
	}
	if store {
		d.took[stream].mode.Store(streamUnknown)
	}
	return unfitError{err}
}
