package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// presenceSeen is what tests read of a record or an event.
type presenceSeen struct {
	EventType     string `json:"eventType"`
	ClientID      string `json:"clientId"`
	Online        bool   `json:"online"`
	Gateway       string `json:"gateway"`
	VersionNumber uint64 `json:"versionNumber"`
	State         uint32 `json:"state"`
	Transport     string `json:"transport"`
	Protocol      string `json:"protocol"`
	IPAddress     string `json:"ipAddress"`
	Reason        string `json:"reason"`
	ByDevice      bool   `json:"clientInitiatedDisconnect"`
}

// recorded is the record of a client.
func (r *rig) recorded(id string) (p presenceSeen) {
	r.t.Helper()
	got, ok, err := r.gw.presence.Lookup(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	if ok {
		if err := json.Unmarshal(got.JSON, &p); err != nil {
			r.t.Fatal(err)
		}
	}
	return p
}

// keeps waits until presence is kept.
func (r *rig) keeps() {
	r.t.Helper()
	r.eventually("presence is kept", func() bool { return r.gw.presence.Counters().Active })
}

// presenceEar hears the events.
type presenceEar struct {
	t   *testing.T
	nc  *nats.Conn
	sub *nats.Subscription
	got map[string][]presenceSeen
}

func newPresenceEar(t *testing.T, nc *nats.Conn) *presenceEar {
	t.Helper()
	sub, err := nc.SubscribeSync("$TG.presence.>")
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = sub.SetPendingLimits(-1, -1)
	return &presenceEar{t: t, nc: nc, sub: sub, got: map[string][]presenceSeen{}}
}

// hear takes what came until now.
func (e *presenceEar) hear() map[string][]presenceSeen {
	e.t.Helper()
	for {
		m, err := e.sub.NextMsg(time.Millisecond)
		if err != nil {
			return e.got
		}
		var p presenceSeen
		if err := json.Unmarshal(m.Data, &p); err != nil || !strings.HasPrefix(m.Subject, "$TG.presence."+p.EventType+".") {
			e.t.Errorf("%s: %s, %v", m.Subject, m.Data, err)
		}
		e.got[p.ClientID] = append(e.got[p.ClientID], p)
	}
}

// disorder is what is wrong with the events of a client: connected is always of a later version, disconnected the end of the connected
// before it.
func disorder(list []presenceSeen) string {
	var was presenceSeen
	for i, p := range list {
		if p.Online && p.VersionNumber <= was.VersionNumber || !p.Online && (!was.Online || p.VersionNumber != was.VersionNumber) {
			return fmt.Sprintf("%d: %+v after %+v", i, p, was)
		}
		was = p
	}
	return ""
}

// TestPresenceOfDevices: whatever a device speaks, its record says so, and why it left.
func TestPresenceOfDevices(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Node = "a" })
	r.keeps()
	ear := newPresenceEar(t, r.nats())
	for _, c := range []struct {
		id, transport, protocol string
		connect                 func(id string) (leave func())
		reason                  string
		byDevice                bool
	}{
		{"v5 über/1", "tcp", "mqtt5", func(id string) func() { return r.connect(mqtt.V5, id).disconnect }, "normal", true},
		{"v311", "tcp", "mqtt3.1.1", func(id string) func() { return r.connect(mqtt.V311, id).cut }, "peer_closed", false},
		{"ws", "ws", "mqtt5", func(id string) func() {
			c, _ := r.connectOn(r.via("ws", mqtt.V5), id)
			return c.disconnect
		}, "normal", true},
		{"plain", "ws", "plain", func(id string) func() {
			c := r.dialWS("/ws/" + id)
			return func() { _ = c.CloseNow() }
		}, "peer_closed", false},
	} {
		leave := c.connect(c.id)
		r.eventually(c.id+" is online", func() bool { return r.recorded(c.id).Online })
		if p := r.recorded(c.id); p.ClientID != c.id || p.Gateway != "a" || p.Transport != c.transport || p.Protocol != c.protocol || p.IPAddress != "127.0.0.1" {
			t.Errorf("%+v", p)
		}
		leave()
		r.eventually(c.id+" is offline", func() bool { return !r.recorded(c.id).Online })
		if p := r.recorded(c.id); p.Reason != c.reason || p.ByDevice != c.byDevice {
			t.Errorf("%+v", p)
		}
		r.eventually("both are told", func() bool { return len(ear.hear()[c.id]) == 2 })
		if wrong := disorder(ear.got[c.id]); wrong != "" {
			t.Error(wrong)
		}
	}
	a := r.connect(mqtt.V5, "twice")
	b := r.connect(mqtt.V5, "twice")
	a.endsWith(mqtt.SessionTakenOver, 0)
	b.disconnect()
	r.eventually("it is offline", func() bool { p := r.recorded("twice"); return !p.Online && p.Reason == "normal" })
	r.eventually("its events have come", func() bool { list := ear.hear()["twice"]; return len(list) > 1 && !list[len(list)-1].Online })
	if wrong := disorder(ear.got["twice"]); wrong != "" {
		t.Error(wrong)
	}
}

// TestPresenceOfTheOnesBefore: devices that connected before NATS was there are told of when it is.
func TestPresenceOfTheOnesBefore(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	s.Shut()
	r := start(t, func(c *Config) { c.NATS.URL = s.URL() })
	stays, leaves := r.connect(mqtt.V5, "stays"), r.connect(mqtt.V5, "leaves")
	leaves.disconnect()
	r.eventually("it has left", func() bool { return r.sum().sessionsLive == 1 })
	s.Reopen()
	r.eventually("who stayed is online", func() bool { return r.gw.presence.Counters().Active && r.recorded("stays").Online })
	if p := r.recorded("leaves"); p.ClientID != "" {
		t.Errorf("%+v", p)
	}
	stays.ping()
}

// presenceRace has ids client ids connect to two gateways at the same time, again and again: each time one connection survives, and the
// record names its gateway.
func presenceRace(t *testing.T, ids, rounds int) {
	s := bustest.Start(t)
	a, b := two(t, s)
	a.keeps()
	b.keeps()
	ear := newPresenceEar(t, s.Conn(t))
	name := func(i int) string { return fmt.Sprint("racer-", i) }
	for round := range rounds {
		list := [2][]*client{make([]*client, ids), make([]*client, ids)}
		var storm sync.WaitGroup
		for g, r := range []*rig{a, b} {
			for w := range 8 {
				storm.Go(func() {
					for i := w; i < ids; i += 8 {
						c := r.open([]mqtt.Version{mqtt.V311, mqtt.V5}[i%2], r.mqtt)
						c.write(c.connectPacket(name(i)))
						list[g][i] = c
					}
				})
			}
		}
		storm.Wait()
		a.eventually("one of each pair is left", func() bool { return a.sum().sessionsLive+b.sum().sessionsLive == ids })
		for i := range ids {
			var here int
			a.eventually(fmt.Sprintf("round %d: one connection of %d survives", round, i), func() bool { // some CONNECT may not have been looked at yet
				here = survivors(list[0][i])
				return here+survivors(list[1][i]) == 1
			})
			want := []string{"b", "a"}[here]
			a.eventually("the record names the survivor's gateway", func() bool { p := a.recorded(name(i)); return p.Online && p.Gateway == want })
		}
		for g := range list {
			for _, c := range list[g] {
				c.conn.Close()
			}
		}
		a.eventually("all are gone", func() bool { return a.sum().sessions+b.sum().sessions == 0 && a.sockets()+b.sockets() == 0 })
		for i := range ids {
			a.eventually("all are offline", func() bool { return !a.recorded(name(i)).Online })
		}
	}
	for id, list := range ear.hear() {
		if wrong := disorder(list); wrong != "" {
			t.Errorf("%s: %s", id, wrong)
		}
	}
	if len(ear.got) != ids {
		t.Errorf("events of %d clients", len(ear.got))
	}
}

// TestPresenceRace is a small one; with the tag fault there is a large one.
func TestPresenceRace(t *testing.T) { t.Parallel(); presenceRace(t, 60, 5) }

// TestPresenceOfTheDead: the devices of a gateway that died are offline, and somebody is told; one that is back already is not.
func TestPresenceOfTheDead(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	soon := func(c *Config) { c.Presence.LeaseTime = 2 * time.Second }
	a := start(t, soon, func(c *Config) { c.NATS.URL, c.Node = s.URL(), "a" })
	inside := s.Conn(t).ConnectedUrl()
	b := start(t, soon, func(c *Config) { c.NATS.URL, c.Node = inside, "b" })
	a.keeps()
	b.keeps()
	a.connect(mqtt.V5, "stays")
	a.connect(mqtt.V5, "moves")
	b.eventually("both are online", func() bool { return b.recorded("stays").Online && b.recorded("moves").Online })
	s.Shut()
	a.gw.presence.Abandon()
	b.connect(mqtt.V5, "moves")
	b.eventually("it is lost", func() bool { p := b.recorded("stays"); return !p.Online && p.Reason == "gateway_lost" && !p.ByDevice })
	b.eventually("it has moved", func() bool { p := b.recorded("moves"); return p.Online && p.Gateway == "b" })
	if n := b.gw.presence.Counters().Lost; n != 1 {
		t.Errorf("%d lost", n)
	}
}

// askPresence asks the query service.
func askPresence(t *testing.T, nc *nats.Conn, what, question string, answer any) (code string) {
	t.Helper()
	m, err := nc.Request("$TG.service.presence."+what, []byte(question), patience)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if code = m.Header.Get("Nats-Service-Error-Code"); code != "" {
		return code
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		t.Fatalf("%s: %v: %s", what, err, m.Data)
	}
	return ""
}

// TestPresenceQueries: a backend finds the service as any of NATS's, gets a record, pages through clients by prefix, counts them, and has one
// disconnected, whichever gateway they are at.
func TestPresenceQueries(t *testing.T) {
	t.Parallel()
	const each = 25
	s := bustest.Start(t)
	a, b := two(t, s)
	a.keeps()
	b.keeps()
	nc := s.Conn(t)
	if _, err := a.gw.bus.SharedSecret(t.Context(), "secret", bytes.Repeat([]byte{0xf2}, 32)); err != nil { // it is among the leases, and none
		t.Fatal(err)
	}
	for i := range each {
		a.connect(mqtt.V5, fmt.Sprintf("car-%02d", 2*i))
		b.connect(mqtt.V5, fmt.Sprintf("car-%02d", 2*i+1))
	}
	van := b.connect(mqtt.V5, "van")
	gone := a.connect(mqtt.V5, "car-gone")
	gone.disconnect()
	a.eventually("all are recorded", func() bool {
		var n struct{ Online, Records int }
		askPresence(t, nc, "count", "", &n)
		return n.Online == 2*each+1 && n.Records == 2*each+2
	})
	var n struct {
		Online, GatewaysAsked, GatewaysAnswered int
		Gateways                                []struct {
			Node        string
			Connections int
		}
	}
	askPresence(t, nc, "count", `{"prefix":"car-"}`, &n)
	if n.Online != 2*each || n.GatewaysAsked != 2 || n.GatewaysAnswered != 2 || len(n.Gateways) != 2 {
		t.Errorf("%+v", n)
	}
	pages := func(question string) (ids []string) {
		t.Helper()
		for cursor := ""; ; {
			var page struct {
				Clients []presenceSeen
				Cursor  string
			}
			if code := askPresence(t, nc, "list", fmt.Sprintf(question, cursor), &page); code != "" {
				t.Fatal(code)
			}
			for _, p := range page.Clients {
				ids = append(ids, p.ClientID)
			}
			if cursor = page.Cursor; cursor == "" {
				return ids
			}
			if len(page.Clients) > 7 {
				t.Errorf("%d on one page", len(page.Clients))
			}
		}
	}
	live := pages(`{"prefix":"car-","online":true,"limit":7,"cursor":%q}`)
	if len(live) != 2*each {
		t.Errorf("%d are live", len(live))
	}
	for i, id := range live {
		if want := fmt.Sprintf("car-%02d", i); id != want {
			t.Fatalf("%s, want %s", id, want)
		}
	}
	known := map[string]int{}
	for _, id := range pages(`{"prefix":"car-","limit":7,"cursor":%q}`) {
		known[id]++
	}
	if len(known) != 2*each+1 || known["car-gone"] != 1 {
		t.Errorf("%d are known: %v", len(known), known)
	}
	var p presenceSeen
	if askPresence(t, nc, "get", `{"clientId":"van"}`, &p); p.Gateway != "b" || !p.Online {
		t.Errorf("%+v", p)
	}
	for question, want := range map[string]string{`{"clientId":"nobody"}`: "404", `{}`: "400", `van`: "400"} {
		if code := askPresence(t, nc, "get", question, &p); code != want {
			t.Errorf("%s: %s, want %s", question, code, want)
		}
	}
	var expelled struct {
		Disconnected bool
		Gateway      string
	}
	if askPresence(t, nc, "disconnect", `{"clientId":"van","reason":"sold"}`, &expelled); !expelled.Disconnected || expelled.Gateway != "b" {
		t.Errorf("%+v", expelled)
	}
	van.endsWith(mqtt.AdministrativeAction, ws.PolicyViolation)
	a.eventually("it is offline", func() bool { p := a.recorded("van"); return !p.Online && p.Reason == "administrative" })
	if askPresence(t, nc, "disconnect", `{"clientId":"van"}`, &expelled); expelled.Disconnected {
		t.Errorf("%+v", expelled)
	}
	found, err := nc.Request("$SRV.INFO.tidegate", nil, patience)
	if err != nil || !strings.Contains(string(found.Data), "$TG.service.presence.list") {
		t.Errorf("%v %v", found, err)
	}
}
