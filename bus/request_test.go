package bus_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

type answer struct {
	reply string
	err   error
}

func ask(b *bus.Bus, subject, payload string, timeout time.Duration, to chan answer) {
	b.Request(subject, []byte(payload), timeout, func(reply []byte, err error) { to <- answer{string(reply), err} })
}

func await(t *testing.T, from chan answer) answer {
	t.Helper()
	select {
	case a := <-from:
		return a
	case <-time.After(patience):
		t.Fatal("no answer")
		return answer{}
	}
}

func TestRequest(t *testing.T) {
	s := bustest.Start(t)
	b := open(t, s)
	nc := s.Conn(t)
	if _, err := nc.Subscribe("upper", func(m *nats.Msg) { _ = m.Respond([]byte(strings.ToUpper(string(m.Data)))) }); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Subscribe("mute", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Subscribe("twice", func(m *nats.Msg) {
		_ = m.Respond([]byte("1"))
		_ = m.Respond([]byte("2"))
	}); err != nil {
		t.Fatal(err)
	}
	_ = nc.Flush()
	to := make(chan answer, 1000)
	ask(b, "upper", "abc", patience, to)
	if a := await(t, to); a.err != nil || a.reply != "ABC" {
		t.Fatalf("%+v", a)
	}
	ask(b, "nobody", "", patience, to)
	if a := await(t, to); !errors.Is(a.err, bus.ErrNoResponders) {
		t.Fatalf("%+v", a)
	}
	ask(b, "mute", "", 10*time.Millisecond, to)
	if a := await(t, to); !errors.Is(a.err, bus.ErrTimeout) {
		t.Fatalf("%+v", a)
	}
	ask(b, "a b", "", patience, to)
	if a := await(t, to); !errors.Is(a.err, nats.ErrBadSubject) {
		t.Fatalf("%+v", a)
	}
	ask(b, strings.Repeat("s", bus.SubjectBytesMax), "", patience, to)
	if a := await(t, to); !errors.Is(a.err, bus.ErrSubjectTooLong) {
		t.Fatalf("%+v", a)
	}
	ask(b, "twice", "", patience, to)
	for range 500 {
		ask(b, "upper", "x", patience, to)
	}
	for i := range 501 {
		if a := await(t, to); a.err != nil || (a.reply != "X" && a.reply != "1") {
			t.Fatalf("%d: %+v", i, a)
		}
	}
	if len(to) != 0 {
		t.Fatal("done ran more than once")
	}
	c := b.Counters()
	if c.RequestTimeouts != 1 || c.RequestNoResponder != 1 || c.Requests < 504 {
		t.Fatalf("%+v", c)
	}
}

func TestRequestReachesOwnInterests(t *testing.T) {
	s := bustest.Start(t)
	got := make(chan string, 1)
	b := open(t, s, func(o *bus.Options) { o.Receive = func(ms []bus.Inbound) { got <- ms[0].Reply } })
	subscribe(t, b, 1, "svc", "")
	to := make(chan answer, 1)
	ask(b, "svc", "", patience, to)
	if err := s.Conn(t).Publish(<-got, []byte("me")); err != nil {
		t.Fatal(err)
	}
	if a := await(t, to); a.reply != "me" {
		t.Fatalf("%+v", a)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	s := bustest.Start(t)
	b := open(t, s)
	nc := s.Conn(t)
	if _, err := nc.Subscribe("mute", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	_ = nc.Flush()
	to := make(chan answer, bus.RequestsMax+10)
	for range bus.RequestsMax + 10 {
		ask(b, "mute", "", time.Hour, to)
	}
	for range 10 {
		if a := await(t, to); !errors.Is(a.err, bus.ErrTooMany) {
			t.Fatalf("%+v", a)
		}
	}
	eventually(t, "all sent", func() bool { return b.Counters().Requests == bus.RequestsMax })
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range bus.RequestsMax {
		if a := await(t, to); !errors.Is(a.err, bus.ErrClosed) {
			t.Fatalf("%+v", a)
		}
	}
	ask(b, "mute", "", time.Hour, to)
	if a := await(t, to); !errors.Is(a.err, bus.ErrClosed) {
		t.Fatalf("%+v", a)
	}
}

func TestRequestWhileAway(t *testing.T) {
	s := bustest.Start(t)
	b := open(t, s)
	s.Shut()
	eventually(t, "disconnected", func() bool { return !b.Status().Connected() })
	to := make(chan answer, 1)
	for range 100 { // the second connection may be found broken a moment later
		ask(b, "x", "", time.Second, to)
		if a := await(t, to); errors.Is(a.err, bus.ErrDisconnected) {
			return
		}
	}
	t.Fatal("never ErrDisconnected")
}
