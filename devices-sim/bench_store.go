package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// store is the stream that a contender stores messages in, as a NATS client sees it. What counts in a scenario with a store is
// what was acknowledged, and afterwards the stream has to hold all of it. Owned by one goroutine.
//
// nats-server's MQTT keeps a message only while a QoS 1 subscription wants it: its stream has the retention "interest", and without
// a consumer it acknowledges and stores nothing. So before the run a persistent session subscribes to everything and leaves,
// with either contender: what the fleet publishes is owed to it, and so has to be stored.
type store struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	stream  string
	already uint64 // messages that it held before
}

// storeTimeout is how long a store may take for one answer.
const storeTimeout = 20 * time.Second

// openStore makes the persistent session and looks into the stream for the first time.
func openStore(ctx context.Context, at address, stream string) (s *store, err error) {
	targets, err := at.targets()
	if err != nil {
		return nil, err
	}
	if err := leaveSession(targets[0].Addr.String(), "bench-reader", "devices/#"); err != nil {
		return nil, fmt.Errorf("a persistent session: %w", err)
	}
	s = &store{stream: stream}
	if s.nc, err = nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", at.natsPort)); err != nil {
		return nil, err
	}
	if s.js, err = jetstream.New(s.nc); err == nil {
		s.already, err = s.messages(ctx)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *store) close() { s.nc.Close() }

// messages is how many messages the stream holds.
func (s *store) messages(ctx context.Context) (uint64, error) {
	ctx, stop := context.WithTimeout(ctx, storeTimeout)
	defer stop()
	stream, err := s.js.Stream(ctx, s.stream)
	if err != nil {
		return 0, fmt.Errorf("stream %s: %w", s.stream, err)
	}
	return stream.CachedInfo().State.Msgs, nil
}

// check compares what was acknowledged with what is stored. Acknowledged more than stored is a broken promise.
func (s *store) check(ctx context.Context, res *result) error {
	n, err := s.messages(ctx)
	if err != nil {
		return err
	}
	t := &res.Telemetry
	t.Stored = new(n - s.already)
	if lost := t.Acked - min(t.Acked, *t.Stored); lost > 0 {
		res.Failures = append(res.Failures, fmt.Sprintf("%d of %d acknowledged messages are not in the stream %s", lost, t.Acked, s.stream))
	}
	if t.Acked == 0 {
		res.Failures = append(res.Failures, "nothing was acknowledged")
	}
	return nil
}

// storeFigures are the figures of a run whose far end is a store: by message acknowledged.
func (s *benchScenario) storeFigures(f map[string]float64, t *messageResult) {
	if t.Acked > 0 {
		f["cpu_us_per_message"] *= float64(t.Sent) / float64(t.Acked)
	}
	f["acknowledged_per_second"] = t.PerSecond * float64(t.Acked) / float64(max(1, t.Sent))
	if t.Stored != nil {
		f["stored_lost"] = float64(t.Acked - min(t.Acked, *t.Stored))
	}
	if ack := t.AckLatency; ack != nil && !s.flatOut {
		f["latency_p50_ms"], f["latency_p99_ms"] = ack.P50, ack.P99
	}
}

// leaveSession connects with a persistent session, subscribes with QoS 1, and says goodbye.
func leaveSession(addr, id, filter string) error {
	c, err := net.DialTimeout("tcp", addr, storeTimeout)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(storeTimeout)); err != nil {
		return err
	}
	subscribe := []mqtt.Filter{{Topic: []byte(filter), QoS: 1}}
	steps := []struct {
		send []byte
		want mqtt.Type
	}{
		{mqtt.AppendConnect(nil, mqtt.V311, &mqtt.ConnectOut{ClientID: []byte(id), KeepAliveSec: benchKeepAlive}), mqtt.TypeConnack},
		{mqtt.AppendSubscribe(nil, mqtt.V311, 1, subscribe, 0), mqtt.TypeSuback},
	}
	var unread []byte
	for _, step := range steps {
		if _, err := c.Write(step.send); err != nil {
			return err
		}
		if unread, err = awaitPacket(c, unread, step.want); err != nil {
			return err
		}
	}
	_, err = c.Write(mqtt.AppendDisconnect(nil, mqtt.V311, mqtt.NormalDisconnection, nil))
	return err
}

// awaitPacket reads until a packet of the wanted type has come and returns what follows it.
func awaitPacket(c net.Conn, p []byte, want mqtt.Type) (rest []byte, err error) {
	var pkt mqtt.Packet
	for {
		packet, n, r := mqtt.Next(p, packetBytesMax)
		if r == mqtt.Success && n > 0 {
			r = mqtt.Decode(packet, mqtt.V311, &pkt)
		}
		switch {
		case r != mqtt.Success:
			return nil, r
		case n == 0:
			var buf [4096]byte
			k, err := c.Read(buf[:])
			if err != nil {
				return nil, err
			}
			p = append(p, buf[:k]...)
			continue
		case pkt.Type == mqtt.TypeConnack && pkt.ReturnCode != 0:
			return nil, errors.New("refused")
		case pkt.Type == mqtt.TypeSuback && (len(pkt.Reasons) != 1 || pkt.Reasons[0].Failed()):
			return nil, errors.New("subscription refused")
		}
		if p = p[n:]; pkt.Type == want {
			return p, nil
		}
	}
}
