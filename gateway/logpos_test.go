package gateway

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// recordOf is what the record of a client says, and how often it was written; false while there is none.
func recordOf(t *testing.T, js jetstream.JetStream, id string) (info session.RecordInfo, revision uint64, there bool) {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), "TG_sessions")
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(t.Context(), id)
	if err != nil || len(e.Value()) <= recordHead {
		return info, 0, false
	}
	if info, err = session.ReadRecord(e.Value()[recordHead:]); err != nil {
		t.Fatal(err)
	}
	return info, e.Revision(), true
}

// TestLogPosFollowsTheLog: the record of a device that publishes with QoS 2 follows the log, but not past a message that is not released; those
// of devices that do not are left alone, and so is one that would say the same again.
func TestLogPosFollowsTheLog(t *testing.T) {
	t.Parallel()
	r := start(t)
	js, err := jetstream.New(r.nats())
	if err != nil {
		t.Fatal(err)
	}
	device := func(id string) *client {
		c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), id, persistent)
		return c
	}
	exact, holds, plain := device("exact"), device("holds"), device("plain")
	exact.publish(2, "up", "1")
	plain.publish(1, "up", "1")
	holds.id++
	holds.write(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("up"), Payload: []byte("held"), QoS: 2, PacketID: holds.id}))
	holds.expect(mqtt.TypePubrec)
	began := logged(t, r.nats())
	plain.ping()
	_, untouched, _ := recordOf(t, js, "plain")

	flood := func() (end uint64) {
		t.Helper()
		for i := range checkpointLog + 10 {
			if _, err := js.PublishAsync("$TG.log.flood", nil); err != nil {
				t.Fatal(err)
			}
			if i%1000 == 0 {
				<-js.PublishAsyncComplete()
			}
		}
		<-js.PublishAsyncComplete()
		plain.publish(1, "up", "tells how far the log is")
		return logged(t, r.nats())
	}
	end := flood()
	r.eventually("the record follows the log", func() bool {
		info, _, _ := recordOf(t, js, "exact")
		return info.LogPos == end
	})
	if info, _, there := recordOf(t, js, "holds"); !there || info.LogPos >= began {
		t.Errorf("%+v: a message that is not released was in a log of %d", info, began)
	}
	if _, revision, _ := recordOf(t, js, "plain"); revision != untouched {
		t.Error("the record of a device without QoS 2 was written again")
	}
	_, before, _ := recordOf(t, js, "exact")
	_, beforeHolds, _ := recordOf(t, js, "holds")
	flood()
	last := wallSec()
	r.eventually("some seconds", func() bool { return wallSec() >= last+3 })
	if _, revision, _ := recordOf(t, js, "exact"); revision != before {
		t.Error("a record was written again although the device published nothing since")
	}
	if _, revision, _ := recordOf(t, js, "holds"); revision != beforeHolds {
		t.Error("a record was written again to say the same")
	}
}

// TestOpeningsOfTheGone: of connections that have ended while their CONNECT waited for its turn, NATS hears nothing.
func TestOpeningsOfTheGone(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	r := start(t, func(c *Config) { c.NATS.URL, c.Loops, c.Durable.Default = s.URL(), 1, "log" })
	r.eventually("NATS can store", func() bool { ok, _ := r.gw.bus.Ready(); return ok })
	s.Pause()
	const more = 30
	var all []*client
	for i := range openingsMax + more {
		c := r.open(mqtt.V5, r.mqtt)
		c.write(c.connectPacket(fmt.Sprint("gone-", i), persistent))
		all = append(all, c)
	}
	r.eventually("all wait", func() bool { return r.sum().openings == openingsMax+more })
	for _, c := range all {
		c.cut()
	}
	late := r.open(mqtt.V5, r.mqtt)
	late.write(late.connectPacket("late", persistent))
	r.eventually("it waits behind them", func() bool { return r.sum().openings == openingsMax+more+1 })
	s.Resume()
	late.expect(mqtt.TypeConnack)
	r.eventually("nobody waits", func() bool { return r.sum().openings == 0 })
	if n := r.sum().openingsForgone; n != more {
		t.Errorf("%d are forgone, want %d", n, more)
	}
	js, err := jetstream.New(s.Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "TG_sessions")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Get(t.Context(), fmt.Sprint("gone-", openingsMax+more-1)); err == nil {
		t.Error("NATS has a record of a connection that was gone before its turn")
	}
}
