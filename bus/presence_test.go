package bus_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

// presence is what tests read of a record and an event.
type presence struct {
	EventType         string `json:"eventType"`
	ClientID          string `json:"clientId"`
	Online            bool   `json:"online"`
	Gateway           string `json:"gateway"`
	Process           string `json:"process"`
	Since             string `json:"since"`
	VersionNumber     uint64 `json:"versionNumber"`
	State             uint32 `json:"state"`
	Reason            string `json:"reason"`
	DisconnectReason  string `json:"disconnectReason"`
	SessionIdentifier string `json:"sessionIdentifier"`
	IPAddress         string `json:"ipAddress"`

	sequence string // of the header that NATS adds to an event
}

// keeper is a Presence on a Bus of its own, and what its gateway would know.
type keeper struct {
	t *testing.T
	b *bus.Bus
	*bus.Presence

	mu   sync.Mutex
	live map[string]uint64 // generation by client
	lost map[string]int
}

func watchman(t *testing.T, url, node string, mods ...func(*bus.PresenceOptions)) *keeper {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{URLs: []string{url}, Node: node})
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{t: t, b: b, live: map[string]uint64{}, lost: map[string]int{}}
	o := bus.PresenceOptions{
		Number: rand.Uint64(), LeaseTime: 2 * time.Second,
		Announce: k.announce,
		Load:     func() (int, []string) { return 1, []string{"mqtt://127.0.0.1:1883"} },
		Lost: func(client string, _ uint64) {
			k.mu.Lock()
			k.lost[client]++
			k.mu.Unlock()
		},
	}
	for _, mod := range mods {
		mod(&o)
	}
	k.Presence = b.NewPresence(o)
	k.Start()
	t.Cleanup(func() {
		k.Abandon()
		_ = b.Close(context.Background())
	})
	k.until("it has a lease", func() bool { return k.Counters().Active })
	return k
}

func (k *keeper) announce() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for client, generation := range k.live {
		k.Note(&bus.PresenceState{Client: client, Generation: generation, Online: true, Protocol: "mqtt5"})
	}
}

func (k *keeper) connect(client string, generation uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.live[client] = generation
	k.Note(&bus.PresenceState{Client: client, Generation: generation, Online: true, Protocol: "mqtt5"})
}

func (k *keeper) disconnect(client string, reason string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Note(&bus.PresenceState{Client: client, Generation: k.live[client], Reason: reason})
	delete(k.live, client)
}

func (k *keeper) until(what string, f func() bool) {
	k.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			k.t.Fatalf("never happened: %s; %+v", what, k.Counters())
		}
	}
}

func (k *keeper) written() {
	k.t.Helper()
	k.until("all is written", func() bool { return k.Counters().Waiting == 0 })
}

// watch is everything that is told on $TG.presence, by client.
type watcher struct {
	t   *testing.T
	nc  *nats.Conn
	kv  jetstream.KeyValue
	sub *nats.Subscription
	got map[string][]presence
}

func watchPresence(t *testing.T, nc *nats.Conn) *watcher {
	t.Helper()
	w := &watcher{t: t, nc: nc, got: map[string][]presence{}}
	var err error
	if w.sub, err = nc.SubscribeSync("$TG.presence.>"); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	_ = w.sub.SetPendingLimits(-1, -1)
	return w
}

// record reads what is in the bucket as any backend does.
func (w *watcher) record(key string) (r presence, ok bool) {
	w.t.Helper()
	if w.kv == nil {
		js, err := jetstream.New(w.nc)
		if err != nil {
			w.t.Fatal(err)
		}
		if w.kv, err = js.KeyValue(w.t.Context(), "TG_presence"); err != nil {
			w.t.Fatal(err)
		}
	}
	e, err := w.kv.Get(w.t.Context(), key)
	if err != nil {
		return r, false
	}
	if err := json.Unmarshal(e.Value(), &r); err != nil {
		w.t.Fatal(err)
	}
	return r, true
}

// collect takes what has come.
func (w *watcher) collect() map[string][]presence {
	w.t.Helper()
	if err := w.nc.Flush(); err != nil {
		w.t.Fatal(err)
	}
	for {
		m, err := w.sub.NextMsg(time.Millisecond)
		if err != nil {
			return w.got
		}
		var e presence
		if err := json.Unmarshal(m.Data, &e); err != nil {
			w.t.Fatal(err)
		}
		if want := "$TG.presence." + e.EventType + "."; !strings.HasPrefix(m.Subject, want) {
			w.t.Errorf("%s on %s", e.EventType, m.Subject)
		}
		e.sequence = m.Header.Get("Nats-Sequence")
		w.got[e.ClientID] = append(w.got[e.ClientID], e)
	}
}

// disorder tells what is wrong with the order of a client's events: each connected is of a later connection than whatever came before, or
// takes back that a gateway was lost, and each disconnected is the end of the connection before it.
func disorder(list []presence) string {
	var was presence
	for i, e := range list {
		back := !was.Online && was.Reason == bus.ReasonGatewayLost && e.VersionNumber == was.VersionNumber && e.State > was.State
		ok := false
		switch e.EventType {
		case "connected":
			ok = e.Online && (e.VersionNumber > was.VersionNumber || back)
		case "disconnected":
			ok = !e.Online && was.Online && e.VersionNumber == was.VersionNumber && e.State > was.State
		case "renewed":
			ok = e.Online == was.Online && e.VersionNumber == was.VersionNumber && e.State > was.State
		}
		if !ok {
			return fmt.Sprintf("event %d: %s of %d, state %d at %s (%s) after %s of %d, state %d at %s (%s)", i,
				e.EventType, e.VersionNumber, e.State, e.Gateway, e.sequence, was.EventType, was.VersionNumber, was.State, was.Gateway, was.sequence)
		}
		was = e
	}
	return ""
}

// TestPresence: a connect and a disconnect are a record and two events; an id with any bytes has a key.
func TestPresence(t *testing.T) {
	s := bustest.Start(t)
	w := watchPresence(t, s.Conn(t))
	a := watchman(t, s.URL(), "a")
	for client, key := range map[string]string{"d1": "d1", "Haus 7/é": "Haus=207=2F=C3=A9", "a.b*>": "a=2Eb=2A=3E"} {
		generation := uint64(time.Now().UnixNano())
		a.connect(client, generation)
		a.until("it is online", func() bool { r, ok := w.record(key); return ok && r.Online })
		r, _ := w.record(key)
		if r.ClientID != client || r.Gateway != "a" || r.VersionNumber != generation || r.Reason != "" || r.SessionIdentifier != fmt.Sprint(generation) ||
			r.Since != time.Unix(0, int64(generation)).UTC().Format("2006-01-02T15:04:05.000Z") {
			t.Errorf("record %+v", r)
		}
		a.disconnect(client, "normal")
		a.until("it is offline", func() bool { r, _ := w.record(key); return !r.Online })
		if r, _ := w.record(key); r.Reason != "normal" || r.DisconnectReason != "normal" || r.VersionNumber != generation {
			t.Errorf("record %+v", r)
		}
		a.until("both are told", func() bool { return len(w.collect()[client]) == 2 })
		if wrong := disorder(w.got[client]); wrong != "" {
			t.Error(wrong)
		}
	}
}

// TestPresenceFenced: what an older connection came to changes nothing once a newer one is written; a takeover is told as one connected
// after another.
func TestPresenceFenced(t *testing.T) {
	s := bustest.Start(t)
	w := watchPresence(t, s.Conn(t))
	a, b := watchman(t, s.URL(), "a"), watchman(t, s.URL(), "b")
	a.connect("d", 100)
	a.written()
	a.until("it is online at a", func() bool { r, _ := w.record("d"); return r.VersionNumber == 100 })
	b.connect("d", 200)
	a.until("it is online at b", func() bool { r, _ := w.record("d"); return r.VersionNumber == 200 })
	before := a.Counters().Superseded
	a.disconnect("d", "taken_over")
	a.until("the late word is dropped", func() bool { return a.Counters().Superseded == before+1 })
	if r, _ := w.record("d"); !r.Online || r.Gateway != "b" {
		t.Errorf("record %+v", r)
	}
	b.disconnect("d", "normal")
	a.until("three events", func() bool { return len(w.collect()["d"]) == 3 })
	got := w.got["d"]
	if wrong := disorder(got); wrong != "" || got[0].Gateway != "a" || got[1].EventType != "connected" || got[1].Gateway != "b" {
		t.Errorf("%s: %+v", wrong, got)
	}
}

// TestPresenceStorm: the same clients connect and disconnect at two gateways at random. In the end each record is as the
// newest connection is, and the events of each client alternate and never go back.
func TestPresenceStorm(t *testing.T) {
	const clients, steps = 50, 4000
	s := bustest.Start(t)
	w := watchPresence(t, s.Conn(t))
	keepers := []*keeper{watchman(t, s.URL(), "a"), watchman(t, s.URL(), "b")}
	seed := rand.Uint64()
	chance := rand.New(rand.NewPCG(seed, 1))
	latest := map[string]struct {
		generation uint64
		at         *keeper
		online     bool
	}{}
	for generation := uint64(1); generation <= steps; generation++ {
		client := fmt.Sprint("c", chance.IntN(clients))
		now := latest[client]
		if now.online && chance.IntN(2) == 0 {
			now.at.disconnect(client, "normal")
			now.online = false
			latest[client] = now
			continue
		}
		to := keepers[chance.IntN(2)]
		if now.online { // a takeover: its end is noticed at once, or late, or by the same gateway
			if now.at == to || chance.IntN(2) == 0 {
				now.at.disconnect(client, "taken_over")
				to.connect(client, generation)
			} else {
				to.connect(client, generation)
				now.at.disconnect(client, "taken_over")
			}
		} else {
			to.connect(client, generation)
		}
		now.generation, now.at, now.online = generation, to, true
		latest[client] = now
		if chance.IntN(100) == 0 {
			s.Sever()
		}
		if chance.IntN(20) == 0 {
			time.Sleep(time.Duration(chance.IntN(5)) * time.Millisecond) // so that batches are cut at random places
		}
	}
	for _, k := range keepers {
		k.written()
	}
	for client, want := range latest {
		ok := func() bool {
			r, there := w.record(client)
			return there && r.Online == want.online && r.VersionNumber == want.generation
		}
		keepers[0].until("the record of "+client+" is right", ok)
	}
	events := 0
	for client, list := range w.collect() {
		events += len(list)
		if wrong := disorder(list); wrong != "" {
			t.Errorf("seed %d: %s: %s", seed, client, wrong)
		}
	}
	if events == 0 {
		t.Error("no events")
	}
}

// TestPresenceHistory: a client that comes and goes faster than that is written is told of once for each connection all the same.
func TestPresenceHistory(t *testing.T) {
	s := bustest.Start(t)
	w := watchPresence(t, s.Conn(t))
	a := watchman(t, s.URL(), "a")
	for i := range 3 {
		a.connect("d", uint64(10+i))
		a.disconnect("d", "normal")
	}
	a.until("each of six is told", func() bool { return len(w.collect()["d"]) == 6 })
	if wrong := disorder(w.got["d"]); wrong != "" {
		t.Error(wrong)
	}
	s.Shut()
	a.until("NATS is away", func() bool { return !a.b.Status().Connected() })
	for i := range 100 {
		a.connect("d", uint64(100+i))
		a.disconnect("d", "normal")
	}
	if n := a.Counters().Coalesced; n == 0 {
		t.Error("nothing was left out")
	}
	s.Reopen()
	a.until("the last of them is told", func() bool {
		w.collect()
		list := w.got["d"]
		e := list[len(list)-1]
		return e.VersionNumber == 199 && !e.Online
	})
	if wrong := disorder(w.got["d"]); wrong != "" {
		t.Error(wrong)
	}
}
