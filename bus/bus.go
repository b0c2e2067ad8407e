package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Errors of the bus; compare with errors.Is.
var (
	ErrClosed         = errors.New("bus: closed")
	ErrDisconnected   = errors.New("bus: not connected to NATS")
	ErrInterestExists = errors.New("bus: an interest with this id exists")
	ErrNoInterest     = errors.New("bus: no interest with this id")
	ErrReserved       = errors.New("bus: the subject is reserved for NATS")
	ErrSubjectTooLong = fmt.Errorf("bus: subject and queue name together are longer than %d bytes", SubjectBytesMax)
	ErrNoResponders   = errors.New("bus: nobody answers on this subject")
	ErrTimeout        = errors.New("bus: no answer in time")
	ErrTooMany        = fmt.Errorf("bus: more than %d requests wait for an answer", RequestsMax)
)

// Bus is the way to NATS: two connections, and the embedded server if asked for. What is published and the plain interests share one
// connection without echo, so that nothing of ours comes back; queue interests and requests use the other, with echo.
// Safe from any goroutine.
type Bus struct {
	options Options
	count   counters
	server  *embedded // nil with an external NATS
	uplink  *link     // publishes, plain interests; no echo
	echo    *link     // queue interests, requests
	alone   alone
	inbox   *inbox
	asks    *requests
	archive *archive
	tails   tails
	peers   *peers
	durable *durable  // nil without Options.Durable
	leaf    *leafLink // nil without Options.Leaf
	words   *peers
	seen    logSeen
	stop    context.CancelFunc // ends both links

	retained *retained

	// op serialises everything that changes subscriptions at NATS. It may be held while nats.go writes to its socket.
	op        sync.Mutex
	interests map[uint32]*interest // guarded by op
	service   *Service             // nil until Serve; guarded by op

	mu         sync.Mutex
	publishers []*Publisher // guarded by mu
	storers    []*Storer    // guarded by mu
	closing    bool         // guarded by mu

	state statusKeeper
}

// Open checks the options, starts the embedded server if asked for, and waits for the first attempt to connect. An external NATS that is away
// is no error: the Bus goes on trying, and Status tells. The error says what happened and how to mend it.
func Open(ctx context.Context, o Options) (*Bus, error) {
	o.setDefaults()
	base, err := o.natsOptions()
	if err != nil {
		return nil, err
	}
	b := &Bus{options: o, interests: make(map[uint32]*interest)}
	if o.Embedded {
		if b.server, err = startEmbedded(ctx, &b.options, &b.alone); err != nil {
			return nil, err
		}
		// In-process is the default. BenchmarkPublisher, CPU a message of client and server together on a busy machine with 2 cores: at
		// 30,000 messages/s 2.8 to 4.0 µs against 3.7 to 5.2 over loopback, cheaper in each of 4 pairs; flat out about 0.8 µs for both.
		if o.overTCP {
			base.Servers = []string{b.server.url()}
		}
	}
	running, stop := context.WithCancel(context.Background())
	b.stop = stop
	b.inbox = newInbox(b)
	b.asks = newRequests(b)
	b.archive = newArchive(b)
	b.tails.bus, b.tails.ctx = b, running
	b.peers = &peers{subject: peerSubject, drops: &b.count.peerDrops}
	b.words = &peers{subject: requestSubject, drops: &b.count.peerDrops}
	b.retained = newRetained(b)
	b.uplink = newLink(running, b, base, false)
	b.echo = newLink(running, b, base, true)
	b.uplink.greet = func(w *wire) error { return errors.Join(b.peers.listen(w), b.words.listen(w)) }
	if o.Durable != nil {
		b.durable = newDurable(b)
		if b.server != nil {
			doubt := b.durable.doubt
			b.server.log.doubt.Store(&doubt)
		}
		go b.durable.run(running)
	}
	b.echo.greet = func(w *wire) error { return errors.Join(b.asks.listen(w), b.archive.listen(w), b.serve(w)) }
	b.start()
	go b.archive.run(running)
	for _, l := range []*link{b.uplink, b.echo} {
		select {
		case <-l.tried:
		case <-ctx.Done():
			_ = b.Close(ctx)
			return nil, fmt.Errorf("bus: gave up connecting: %w", ctx.Err())
		}
	}
	switch {
	case o.Leaf != nil: // whoever is at the hub hears us as soon as the link is up, so that we are never alone
		b.leaf = &leafLink{bus: b}
		go b.leaf.run(running)
	case b.server != nil:
		b.alone.doubt() // 0 is for not being sure
		b.lookAround()
		b.lookAround()
		go b.watchAlone(running)
	}
	return b, nil
}

func (b *Bus) start() {
	b.inbox.start()
	b.asks.start()
	go b.uplink.run()
	go b.echo.run()
}

// Close confirms what the publishers hold until ctx ends, gives up the rest, closes the connections and stops the embedded server.
// Not to be called from a callback of the Bus. The error tells how many messages were given up.
func (b *Bus) Close(ctx context.Context) error {
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		return ErrClosed
	}
	b.closing = true
	publishers, storers := b.publishers, b.storers
	b.mu.Unlock()

	var ended []<-chan struct{}
	for _, s := range storers {
		s.drain()
		ended = append(ended, s.done)
	}
	for _, p := range publishers {
		p.drain()
		ended = append(ended, p.done)
	}
	for _, done := range ended {
		select {
		case <-done:
			continue
		case <-ctx.Done():
		}
		break
	}
	for _, s := range storers {
		s.giveUp()
	}
	for _, p := range publishers {
		p.giveUp()
	}
	b.retained.puts.drain(ctx.Done())
	b.stop() // breaks the connections, which frees a publisher inside nats.go
	for _, done := range ended {
		<-done
	}
	<-b.uplink.done
	<-b.echo.done
	if b.durable != nil {
		<-b.durable.done
	}
	b.tails.stop()
	<-b.archive.done
	b.asks.stop()
	b.retained.stop()
	b.stopPeers()
	b.inbox.stop()
	if b.server != nil {
		b.server.stop()
	}
	b.state.close(b)
	if n := b.count.givenUp.Load() + b.count.storeGivenUp.Load(); n > 0 {
		return fmt.Errorf("bus: closed with %d messages that NATS did not confirm", n)
	}
	return nil
}

// ClientURL is where other NATS clients reach the server: the address of the embedded one ("" without a listener), or the server we are connected to.
func (b *Bus) ClientURL() string {
	if b.server != nil {
		return b.server.url()
	}
	return b.Status().URL
}

// wireChanged tells everybody who waits for a connection.
func (b *Bus) wireChanged() {
	b.mu.Lock()
	publishers := b.publishers
	b.mu.Unlock()
	for _, p := range publishers {
		p.wake()
	}
	if b.durable != nil {
		b.durable.doubt()
		b.wakeStorers()
	}
	b.archive.stir()
	b.tails.stir()
	b.retained.wireChanged()
	b.state.update(b)
}

// wakeStorers has all Storers look again.
func (b *Bus) wakeStorers() {
	b.mu.Lock()
	storers := b.storers
	b.mu.Unlock()
	for _, s := range storers {
		s.stir()
	}
}
