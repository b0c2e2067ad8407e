package bus

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestAlone(t *testing.T) {
	t.Run("plain", func(t *testing.T) { testAlone(t, nil) })
	t.Run("durable", func(t *testing.T) { testAlone(t, &Durable{}) })
}

func testAlone(t *testing.T, durable *Durable) {
	ctx := t.Context()
	ready := make(chan struct{}, 1)
	b, err := Open(ctx, Options{
		Embedded: true, Node: "n", DataDir: t.TempDir(), ListenAddr: "127.0.0.1:0", Receive: func([]Inbound) {},
		Durable: durable, OnReady: func() { ready <- struct{}{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(ctx)
	is := func(want bool, when string) {
		t.Helper()
		if b.Alone() != want {
			t.Errorf("%s: alone is %v", when, !want)
		}
	}
	// poll is for what the server tells nobody.
	poll := func(what string, holds func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never: %s", what)
			}
		}
	}
	is(true, "at the start")
	if durable != nil {
		<-ready
		b.lookAround()
		b.lookAround()
		if n := b.server.server.GlobalAccount().JetStreamUsage().Streams; n != 3 {
			t.Fatalf("%d streams", n)
		}
		is(true, "with our own streams")
	}
	plain := AppendFilterSubjects([]byte("devices/#"))
	if err := b.Subscribe(1, plain, ""); err != nil {
		t.Fatal(err)
	}
	is(true, "with a plain interest, which does not hear what we publish")
	if err := b.Subscribe(2, plain, "workers"); err != nil {
		t.Fatal(err)
	}
	is(false, "with a queue interest, which does")
	if err := b.Unsubscribe(2); err != nil {
		t.Fatal(err)
	}
	is(true, "after it")

	guest := func() *nats.Conn {
		nc, err := nats.Connect(b.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		return nc
	}
	// leave waits until the server has forgotten a client, and looks.
	leave := func(nc *nats.Conn) {
		nc.Close()
		poll("the server has forgotten the client", func() bool { return b.server.server.NumClients() == 2 })
		b.lookAround()
		b.lookAround()
	}
	nc := guest()
	is(false, "with a client")
	b.lookAround()
	b.lookAround()
	is(false, "with a client, after two looks")
	leave(nc)
	is(true, "after the client left")

	nc = guest()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "UP", Subjects: []string{"devices.>"}}); err != nil {
		t.Fatal(err)
	}
	leave(nc)
	is(false, "with a stream")
	b.lookAround()
	is(false, "with a stream, after another look")
	nc = guest()
	if js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(ctx, "UP"); err != nil {
		t.Fatal(err)
	}
	leave(nc)
	is(true, "after the stream is gone")

	// The server makes a stream for a client that did not wait for the answer.
	nc = guest()
	for i := range 40 { // work, so that the server is late with it
		_ = nc.Publish(fmt.Sprint("$JS.API.STREAM.CREATE.S", i), fmt.Appendf(nil, `{"name":"S%d","subjects":["s%d.>"]}`, i, i))
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	leave(nc)
	poll("the streams are seen", func() bool { return !b.Alone() })

}
