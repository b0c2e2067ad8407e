package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// bansBucket is the key-value bucket of those who may not connect, to any gateway on this NATS.
const bansBucket = "TG_bans"

// What a ban is about.
const (
	BanClient  = "client"
	BanUser    = "user"
	BanAddress = "address"
)

// Ban keeps somebody out. Its key in the bucket is Kind and the escaped Name.
type Ban struct {
	Kind   string    `json:"kind"`
	Name   string    `json:"name"` // a client id, a user name, an address or a network
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at"`
	Until  time.Time `json:"until,omitzero"` // zero: until it is removed
}

// Over tells whether its time has passed.
func (b *Ban) Over(now time.Time) bool { return !b.Until.IsZero() && !now.Before(b.Until) }

const (
	// bansMax is how many bans gateways heed; those beyond it are counted. 64 Ki take some 10 MB in each gateway.
	bansMax = 1 << 16
	// banNameMax is the longest escaped name.
	banNameMax = 1024
	// banGatherTime is how long changes gather before they are told.
	banGatherTime = 50 * time.Millisecond
	// banLookTime is how often the bucket is looked after, in case somebody took it away.
	banLookTime = 30 * time.Second
	banPauseMin = 250 * time.Millisecond
	// banMarkerTime is how long the bucket says that a ban has ended by itself.
	banMarkerTime = time.Hour
)

// ErrBanName says that a ban cannot be written down.
var ErrBanName = fmt.Errorf("bus: the name of a ban is empty, or longer than %d bytes once escaped", banNameMax)

// key is where the ban is in the bucket.
func (b *Ban) key() (string, error) {
	name := AppendClientKey(nil, []byte(b.Name))
	if b.Name == "" || len(name) > banNameMax {
		return "", ErrBanName
	}
	return b.Kind + "." + string(name), nil
}

// bans opens the bucket, or makes it: with three replicas where NATS has them.
func (b *Bus) bans(ctx context.Context) (kv jetstream.KeyValue, js jetstream.JetStream, w *wire, err error) {
	if w = b.echo.now.Load(); w == nil {
		return nil, nil, nil, ErrDisconnected
	}
	if js, err = jetstream.New(w.nc); err != nil {
		return nil, nil, nil, fmt.Errorf("bus: bans: %w", err)
	}
	kv, err = js.KeyValue(ctx, bansBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = b.makeBans(ctx, js)
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("bus: bucket %s: %w", bansBucket, err)
	}
	return kv, js, w, nil
}

func (b *Bus) makeBans(ctx context.Context, js jetstream.JetStream) (kv jetstream.KeyValue, err error) {
	for _, replicas := range []int{replicasWished, 1} {
		if b.server != nil && replicas > 1 {
			continue
		}
		kv, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: bansBucket, Description: "tidegate: who may not connect", Replicas: replicas, Storage: jetstream.FileStorage, LimitMarkerTTL: banMarkerTime,
		})
		if err == nil {
			break
		}
		if found, e := js.KeyValue(ctx, bansBucket); e == nil { // another gateway was quicker
			return found, nil
		}
	}
	if err == nil && b.server != nil {
		err = b.server.syncStreams()
	}
	return kv, err
}

// PutBan bans somebody, or changes a ban. It waits for NATS: not for event loops. ErrDisconnected may pass.
func (b *Bus) PutBan(ctx context.Context, ban *Ban) error {
	key, err := ban.key()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	_, js, _, err := b.bans(ctx)
	if err != nil {
		return err
	}
	value, err := json.Marshal(ban)
	if err != nil {
		return fmt.Errorf("bus: ban of %s %q: %w", ban.Kind, ban.Name, err)
	}
	m := &nats.Msg{Subject: "$KV." + bansBucket + "." + key, Data: value, Header: nats.Header{}}
	if !ban.Until.IsZero() {
		m.Header = lasting(max(time.Second, time.Until(ban.Until)))
	}
	if _, err := js.PublishMsg(ctx, m); err != nil {
		return fmt.Errorf("bus: write to the bucket %s: %w", bansBucket, err)
	}
	return nil
}

// RemoveBan ends a ban; false: there was none. It waits for NATS: not for event loops.
func (b *Bus) RemoveBan(ctx context.Context, kind, name string) (found bool, err error) {
	key, err := (&Ban{Kind: kind, Name: name}).key()
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	kv, _, _, err := b.bans(ctx)
	if err != nil {
		return false, err
	}
	if _, err := kv.Get(ctx, key); errors.Is(err, jetstream.ErrKeyNotFound) {
		return false, nil
	}
	if err := kv.Purge(ctx, key, jetstream.PurgeTTL(banMarkerTime)); err != nil {
		return false, fmt.Errorf("bus: write to the bucket %s: %w", bansBucket, err)
	}
	return true, nil
}

// Bans returns all bans, in the order of their keys' age. It waits for NATS: not for event loops.
func (b *Bus) Bans(ctx context.Context) (all []Ban, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	kv, _, _, err := b.bans(ctx)
	if err != nil {
		return nil, err
	}
	watcher, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("bus: read the bucket %s: %w", bansBucket, err)
	}
	defer func() { _ = watcher.Stop() }()
	for {
		select {
		case e := <-watcher.Updates():
			if e == nil {
				return all, nil
			}
			if ban, ok := readBan(e); ok && !ban.Over(time.Now()) {
				all = append(all, *ban)
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("bus: read the bucket %s: %w", bansBucket, ctx.Err())
		}
	}
}

// readBan reads a value of the bucket. Whatever is not as a gateway writes it is none.
func readBan(e jetstream.KeyValueEntry) (*Ban, bool) {
	ban := &Ban{}
	if e.Operation() != jetstream.KeyValuePut || json.Unmarshal(e.Value(), ban) != nil {
		return nil, false
	}
	key, err := ban.key()
	return ban, err == nil && key == e.Key()
}

// BanWatch follows the bucket for one reader.
type BanWatch struct {
	bus      *Bus
	tell     func(all map[string]*Ban)
	unheeded atomic.Uint64
	unread   atomic.Uint64
}

// NewBanWatch returns a watch that tells all bans by their keys when it begins, and again after each change; all is borrowed, and its values are
// never changed.
func (b *Bus) NewBanWatch(tell func(all map[string]*Ban)) *BanWatch {
	return &BanWatch{bus: b, tell: tell}
}

// Unheeded is how many bans there was no room for, and how many could not be read, each time it was told. Safe from any goroutine.
func (x *BanWatch) Unheeded() uint64 { return x.unheeded.Load() + x.unread.Load() }

// Run follows the bucket until ctx ends. While NATS is away, what was told last holds.
func (x *BanWatch) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := x.follow(ctx)
		wait := banPauseMin
		if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrLimitMarkerTTLNotSupported) {
			wait = noStorageTime
		}
		pause(ctx, wait)
	}
}

// follow follows it on one wire.
func (x *BanWatch) follow(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	kv, _, w, err := x.bus.bans(asking)
	if err != nil {
		return err
	}
	watcher, err := kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("bus: watch the bucket %s: %w", bansBucket, err)
	}
	defer func() { _ = watcher.Stop() }()
	look := time.NewTicker(banLookTime)
	defer look.Stop()
	all, known := map[string]*Ban{}, false
	var gathered <-chan time.Time
	for {
		select {
		case e, ok := <-watcher.Updates():
			switch {
			case !ok:
				return ErrDisconnected
			case e != nil:
				x.apply(all, e)
			default:
				known = true
			}
			if known && gathered == nil {
				gathered = time.After(banGatherTime)
			}
		case <-gathered:
			gathered = nil
			x.tell(all)
		case <-look.C:
			asking, cancel := context.WithTimeout(ctx, writeTimeout)
			_, err := kv.Status(asking)
			cancel()
			if err != nil {
				return fmt.Errorf("bus: bucket %s: %w", bansBucket, err)
			}
		case <-w.gone:
			return ErrDisconnected
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// apply takes one change.
func (x *BanWatch) apply(all map[string]*Ban, e jetstream.KeyValueEntry) {
	key := strings.Clone(e.Key())
	ban, ok := readBan(e)
	switch {
	case e.Operation() != jetstream.KeyValuePut:
		delete(all, key)
	case !ok:
		x.unread.Add(1)
		delete(all, key)
	case all[key] == nil && len(all) >= bansMax:
		x.unheeded.Add(1)
	default:
		all[key] = ban
	}
}
