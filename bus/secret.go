package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// gatewaysBucket is the key-value bucket in which gateways keep what they share.
const gatewaysBucket = "TG_gateways"

// ErrNoSecrets says that NATS keeps nothing for gateways: it has no JetStream, or forbids it to us.
var ErrNoSecrets = errors.New("bus: JetStream is not available")

// SharedSecret returns the secret of this name that all gateways on this NATS share. The first one to ask makes it of fresh, whose length
// every later answer has. It is a key of the bucket TG_gateways, readable to whoever may read that. It waits for NATS: not for event
// loops. ErrDisconnected and ErrNoSecrets may pass.
func (b *Bus) SharedSecret(ctx context.Context, name string, fresh []byte) ([]byte, error) {
	w := b.echo.now.Load()
	if w == nil {
		return nil, ErrDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	kv, err := b.bucket(ctx, w.nc, gatewaysBucket, "what gateways share")
	if err != nil {
		return nil, fmt.Errorf("%w: bucket %s: %w", ErrNoSecrets, gatewaysBucket, err)
	}
	e, err := kv.Get(ctx, name)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		if _, err = kv.Create(ctx, name, fresh); err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
			return nil, fmt.Errorf("bus: write %s to %s: %w", name, gatewaysBucket, err)
		}
		e, err = kv.Get(ctx, name) // ours, or that of another gateway which was quicker
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("bus: read %s of %s: %w", name, gatewaysBucket, err)
	case len(e.Value()) != len(fresh):
		return nil, fmt.Errorf("bus: %s of %s has %d bytes and not %d; delete it, and restart the gateways", name, gatewaysBucket, len(e.Value()), len(fresh))
	}
	return e.Value(), nil
}

// bucket opens a bucket of gateways, or makes it: with three replicas where NATS has them.
func (b *Bus) bucket(ctx context.Context, nc *nats.Conn, name, description string) (jetstream.KeyValue, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	kv, err := js.KeyValue(ctx, name)
	if !errors.Is(err, jetstream.ErrBucketNotFound) {
		return kv, err
	}
	b.alone.doubt() // there will be a stream
	for _, replicas := range []int{3, 1} {
		kv, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: name, Description: description, Replicas: replicas, Storage: jetstream.FileStorage})
		if err == nil {
			return kv, nil
		}
		if kv, found := js.KeyValue(ctx, name); found == nil { // another gateway was quicker
			return kv, nil
		}
	}
	return nil, err
}
