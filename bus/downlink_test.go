package bus_test

import (
	"errors"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

// received keeps copies of what Receive got. Safe from any goroutine.
type received struct {
	mu  sync.Mutex
	all []bus.Inbound
}

func (r *received) receive(ms []bus.Inbound) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range ms {
		m.Topic, m.Payload, m.ClientID = slices.Clone(m.Topic), slices.Clone(m.Payload), slices.Clone(m.ClientID)
		f := &m.Fields
		f.ContentType, f.ResponseTopic = slices.Clone(f.ContentType), slices.Clone(f.ResponseTopic)
		f.CorrelationData, f.Users = slices.Clone(f.CorrelationData), slices.Clone(f.Users)
		for i, u := range f.Users {
			f.Users[i] = bus.UserProperty{Name: slices.Clone(u.Name), Value: slices.Clone(u.Value)}
		}
		r.all = append(r.all, m)
	}
}

func (r *received) wait(t *testing.T, n int) []bus.Inbound {
	t.Helper()
	eventually(t, strconv.Itoa(n)+" messages received", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.all) >= n
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// listening opens a Bus that keeps what it receives.
func listening(t *testing.T, s *bustest.Server) (*bus.Bus, *received) {
	r := &received{}
	return open(t, s, func(o *bus.Options) { o.Receive = r.receive }), r
}

func subscribe(t *testing.T, b *bus.Bus, id uint32, filter, queue string) {
	t.Helper()
	if err := b.Subscribe(id, bus.AppendFilterSubjects([]byte(filter)), queue); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestReceive(t *testing.T) {
	s := bustest.Start(t)
	b, r := listening(t, s)
	subscribe(t, b, 7, "a/#", "")
	subscribe(t, b, 8, "#", "")
	nc := s.Conn(t)
	for _, subject := range []string{"a", "a.b", "a./", "a.x/20y", "a.bad/", "$x.y", "_INBOX.x"} {
		if err := nc.PublishRequest(subject, "answer.here", []byte(subject)); err != nil {
			t.Fatal(err)
		}
	}
	got := map[uint32][]string{}
	for _, m := range r.wait(t, 8) {
		if m.Reply != "answer.here" || m.FromDevice || m.HasFields {
			t.Fatalf("%+v", m)
		}
		got[m.Interest] = append(got[m.Interest], string(m.Topic))
	}
	want := []string{"a", "a/b", "a/", "a/x y"}
	for _, id := range []uint32{7, 8} {
		if !slices.Equal(got[id], want) {
			t.Errorf("interest %d got %q, want %q", id, got[id], want)
		}
	}
	eventually(t, "all counted", func() bool {
		c := b.Counters()
		return c.Received == 8 && c.InUnmappable == 2 && c.InReserved == 2
	})
}

func TestFieldsTravel(t *testing.T) {
	s := bustest.Start(t)
	from := open(t, s)
	b, r := listening(t, s)
	subscribe(t, b, 1, "f/#", "")
	_, raw := observe(t, s, "f.>")
	fields := bus.Fields{
		HasFormat: true, Format: 1, ContentType: []byte("text/plain; charset=utf-8 \r\nX: y"), ResponseTopic: []byte("ans wer/*"),
		CorrelationData: []byte{0, 1, '\r', '\n', 255}, HasExpiry: true, ExpirySec: 4294967295,
		Users: []bus.UserProperty{
			{Name: []byte("a=b"), Value: []byte("c=d %")}, {Name: []byte("a=b"), Value: []byte(" ü ")}, {Name: []byte{}, Value: []byte{}},
		},
	}
	next := newBatch(
		bus.Message{Topic: []byte("f/1"), QoS: 1, Retain: true, ClientID: []byte("a b"), Fields: fields},
		bus.Message{Topic: []byte("f/2")},
		bus.Message{Topic: []byte("f/3"), Fields: bus.Fields{ResponseTopic: []byte("$JS/API/x")}},
		bus.Message{Topic: []byte("f/4"), Fields: bus.Fields{HasExpiry: true, HasFormat: true}},
	)
	from.NewPublisher(nil).Offer(next)
	next.wait(t)
	got := r.wait(t, 4)
	f := got[0].Fields
	switch {
	case !got[0].FromDevice || got[0].QoS != 1 || !got[0].Retain || string(got[0].ClientID) != "a b" || !got[0].HasFields:
		t.Errorf("%+v", got[0])
	case f.Format != 1 || !f.HasFormat || f.ExpirySec != 4294967295 || !f.HasExpiry:
		t.Errorf("%+v", f)
	case string(f.ContentType) != string(fields.ContentType) || string(f.ResponseTopic) != "ans wer/*" || string(f.CorrelationData) != string(fields.CorrelationData):
		t.Errorf("%+v", f)
	case len(f.Users) != 3:
		t.Errorf("%q", f.Users)
	}
	for i, u := range f.Users {
		if string(u.Name) != string(fields.Users[i].Name) || string(u.Value) != string(fields.Users[i].Value) {
			t.Errorf("user property %d is %q", i, u)
		}
	}
	if got[1].HasFields || !got[1].FromDevice || got[1].QoS != 0 || got[2].HasFields {
		t.Errorf("%+v %+v", got[1], got[2])
	}
	if f := got[3].Fields; !f.HasExpiry || f.ExpirySec != 0 || !f.HasFormat || f.Format != 0 || len(f.Users) != 0 {
		t.Errorf("%+v", f)
	}
	if h := (<-raw).Header; h.Get("TG-Response") != "ans/20wer./2a" || len(h) != 7 || len(h["TG-User"]) != 3 {
		t.Errorf("on NATS: %v", h)
	}
	if from.Counters().OutBadFields != 1 {
		t.Error("reserved response topic not counted")
	}
}

func TestBadFieldsFromBackendsAreLeftOut(t *testing.T) {
	s := bustest.Start(t)
	b, r := listening(t, s)
	subscribe(t, b, 1, "x", "")
	m := nats.NewMsg("x")
	m.Header = nats.Header{
		"TG": {"9r c=x"}, "TG-Format": {"x"}, "TG-Type": {"%ff"}, "TG-Response": {"a.*"}, "TG-Correlation": {"!"}, "TG-Expiry": {"-1"},
		"TG-User": {"n=%00", "good=1", "%zz=50%"},
	}
	if err := s.Conn(t).PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	got := r.wait(t, 1)[0]
	if got.FromDevice || len(got.Fields.Users) != 2 || string(got.Fields.Users[1].Name) != "%zz" || string(got.Fields.Users[1].Value) != "50%" {
		t.Fatalf("%+v", got)
	}
	if f := got.Fields; f.HasFormat || f.HasExpiry || f.ContentType != nil || f.ResponseTopic != nil || f.CorrelationData != nil {
		t.Fatalf("%+v", f)
	}
	if c := b.Counters(); c.InBadFields != 6 {
		t.Fatalf("%+v", c)
	}
}

func TestEcho(t *testing.T) {
	s := bustest.Start(t)
	b, r := listening(t, s)
	subscribe(t, b, 1, "e/#", "")
	subscribe(t, b, 2, "e/#", "my group")
	const n = 100
	var ms []bus.Message
	for i := range n {
		ms = append(ms, text("e/1", strconv.Itoa(i)))
	}
	next := newBatch(ms...)
	b.NewPublisher(nil).Offer(next)
	next.wait(t)
	nc := s.Conn(t)
	// A member of the same group in a backend: the group gets each message once, so these two share 100 more.
	theirs := make(chan *nats.Msg, n)
	if _, err := nc.ChanQueueSubscribe("e.>", "my%20group", theirs); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	other := s.Conn(t)
	for i := range n {
		if err := other.Publish("e.2", []byte(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all messages", func() bool {
		return int(b.Counters().Received)+len(theirs) == 3*n
	})
	count := map[string]int{}
	for _, m := range r.wait(t, 0) {
		count[strconv.Itoa(int(m.Interest))+string(m.Topic)]++
	}
	if count["1e/1"] != 0 || count["2e/1"] != n || count["1e/2"] != n || count["2e/2"]+len(theirs) != n || len(theirs) == 0 {
		t.Fatalf("%v, backend %d", count, len(theirs))
	}
}

func TestInterestsSurviveFaults(t *testing.T) {
	s := bustest.Start(t)
	b, r := listening(t, s)
	subscribe(t, b, 1, "a", "")
	s.Stop()
	eventually(t, "disconnected", func() bool { return b.Status().State == bus.Disconnected })
	if err := b.Flush(t.Context()); !errors.Is(err, bus.ErrDisconnected) {
		t.Fatalf("Flush: %v", err)
	}
	if err := b.Subscribe(2, []string{"b"}, "q"); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	eventually(t, "connected", func() bool { return b.Status().Connected() })
	if st := b.Status(); st.Reconnects != 1 || st.MaxPayloadBytes != 1<<20 {
		t.Fatalf("%+v", st)
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	nc := s.Conn(t)
	_ = nc.Publish("a", nil)
	_ = nc.Publish("b", nil)
	r.wait(t, 2)
}

func TestSubscribeErrors(t *testing.T) {
	s := bustest.Start(t)
	b := open(t, s)
	subscribe(t, b, 1, "a", "")
	for _, c := range []struct {
		id      uint32
		subject string
		want    error
	}{
		{1, "b", bus.ErrInterestExists}, {2, "$JS.>", bus.ErrReserved}, {2, "_INBOX.>", bus.ErrReserved},
		{2, strings.Repeat("x", bus.SubjectBytesMax+1), bus.ErrSubjectTooLong}, {2, "a b", nats.ErrBadSubject},
	} {
		if err := b.Subscribe(c.id, []string{c.subject}, ""); !errors.Is(err, c.want) {
			t.Errorf("%.20q: %v, want %v", c.subject, err, c.want)
		}
	}
	if err := b.Subscribe(2, []string{""}, ""); err == nil {
		t.Error("empty subject accepted")
	}
	if err := b.Unsubscribe(2); !errors.Is(err, bus.ErrNoInterest) {
		t.Errorf("%v", err)
	}
}

func TestSubscribeAndUnsubscribeRace(t *testing.T) {
	s := bustest.Start(t)
	b, _ := listening(t, s)
	nc := s.Conn(t)
	stop := make(chan struct{})
	var flood, churn sync.WaitGroup
	flood.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = nc.Publish("r.1", []byte("x"))
				_ = nc.Flush()
			}
		}
	})
	for w := range uint32(4) {
		churn.Go(func() {
			for i := range uint32(100) {
				id, queue := w*1000+i%3, ""
				if i%2 == 0 {
					queue = "q"
				}
				if err := b.Subscribe(id, []string{"r.*", "r"}, queue); err != nil {
					t.Error(err)
				}
				if w == 0 && i%30 == 0 {
					s.Sever()
				}
				if err := b.Unsubscribe(id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	churn.Wait()
	close(stop)
	flood.Wait()
}

func TestGoroutinesDoNotDependOnSubscriptions(t *testing.T) {
	s := bustest.Start(t)
	b := open(t, s)
	subscribe(t, b, 0, "first", "")
	before := runtime.NumGoroutine()
	for i := range uint32(2000) {
		queue := ""
		if i%2 == 0 {
			queue = "q"
		}
		if err := b.Subscribe(i+1, []string{"g." + strconv.Itoa(int(i))}, queue); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		b.Request("g.slow", nil, time.Minute, func([]byte, error) {})
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := runtime.NumGoroutine(); after > before+2 {
		t.Fatalf("%d goroutines before, %d after", before, after)
	}
}

func TestSlowReceiverDropsAndCounts(t *testing.T) {
	s := bustest.Start(t)
	gate := make(chan struct{})
	b := open(t, s, func(o *bus.Options) {
		o.InboxBytesMax = 100 << 10
		o.Receive = func([]bus.Inbound) { <-gate }
	})
	subscribe(t, b, 1, "slow", "")
	nc := s.Conn(t)
	const n = 500
	for range n {
		if err := nc.Publish("slow", make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "drops", func() bool { return b.Counters().SlowDrops > n-150 })
	close(gate)
	eventually(t, "every message received or counted", func() bool {
		c := b.Counters()
		return c.Received+c.SlowDrops == n && c.Received > 50
	})
}
