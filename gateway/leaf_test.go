package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus/bustest"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// atSite makes a gateway that of an edge site of the hub.
func atSite(h *bustest.Hub, dir string) func(c *Config) {
	return func(c *Config) {
		c.Node, c.Data, c.Durable.Default = "plant.example", dir, "log"
		c.NATS.Leaf.URL, c.NATS.Leaf.HubDomain = h.LeafURL(), "hub"
	}
}

func (r *rig) linked() {
	r.t.Helper()
	r.eventually("the hub is linked", func() bool { return r.gw.bus.Leaf().Up })
}

func jetStreamOf(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// stored is what a stream has, as "subject payload", in order.
func stored(t testing.TB, js jetstream.JetStream, stream string) (all []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		t.Fatal(err)
	}
	state := s.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		m, err := s.GetMsg(ctx, seq)
		if err != nil {
			t.Fatalf("%s: %d: %v", stream, seq, err)
		}
		all = append(all, m.Subject+" "+string(m.Data))
	}
	return all
}

// TestEdgeSite: devices of a site are acknowledged while the link to the hub is down at the start, is cut under load, and while the gateway is started
// again without it; afterwards the hub has all that was acknowledged, in order, once.
func TestEdgeSite(t *testing.T) {
	t.Parallel()
	h, dir := bustest.StartHub(t), t.TempDir()
	h.Cut()
	r := start(t, atSite(h, dir))
	pub := r.connect(mqtt.V5, "pub")
	var want []string
	publish := func(c *client, n int) {
		for range n {
			text := fmt.Sprint(len(want))
			if answer := c.publish(1, "up/a", text); answer >= 0x80 {
				t.Errorf("message %s: %v", text, answer)
			}
			want = append(want, "$TG.log.up.a "+text)
		}
	}
	publish(pub, 50)
	h.Mend()
	r.linked()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // has want until it stops
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				publish(pub, 10)
			}
		}
	}()
	for range 3 {
		h.Cut()
		r.eventually("the link is down", func() bool { return !r.gw.bus.Leaf().Up })
		h.Mend()
		r.linked()
	}
	close(stop)
	<-stopped
	h.Cut()
	publish(pub, 50)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = start(t, atSite(h, dir))
	publish(r.connect(mqtt.V311, "pub"), 50)
	h.Mend()

	hub := jetStreamOf(t, h.Conn(t))
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		s, err := hub.Stream(t.Context(), "TG_LOG_plant-example")
		if err == nil && int(s.CachedInfo().State.LastSeq) >= len(want) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the copy is not complete: %v", err)
		}
	}
	if got := stored(t, hub, "TG_LOG_plant-example"); !slices.Equal(got, want) {
		t.Errorf("the copy has %d messages, want %d; the first other is %d", len(got), len(want), firstOther(got, want))
	}
	if got := stored(t, jetStreamOf(t, r.nats()), "TG_LOG"); !slices.Equal(got, want) {
		t.Errorf("the log has %d messages, want %d", len(got), len(want))
	}
}

func firstOther(a, b []string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// TestEdgeSiteAndHub: devices at the site and at the hub hear each other, once, at every QoS, though each side has the messages in a log of its own;
// backends at the hub hear both.
func TestEdgeSiteAndHub(t *testing.T) {
	t.Parallel()
	h := bustest.StartHub(t)
	site := start(t, atSite(h, t.TempDir()))
	site.linked()
	centre := start(t, func(c *Config) { c.NATS.URL, c.Node, c.Durable.Default = h.URL(), "centre", "log" })
	centre.eventually("the hub can store", func() bool { ok, _ := centre.gw.bus.Ready(); return ok })

	var mu sync.Mutex
	heard := map[string]int{}
	nc := h.Conn(t)
	if _, err := nc.Subscribe("talk.>", func(m *nats.Msg) {
		mu.Lock()
		heard[m.Subject+" "+string(m.Data)]++
		mu.Unlock()
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	here, there := site.connect(mqtt.V5, "dev"), centre.connect(mqtt.V5, "dev") // ids are a site's own
	for _, c := range []*client{here, there} {
		c.subscribe(2, "talk/#")
	}
	rigs, ends := []*rig{site, centre}, []*client{there, here}
	var pubs []*client
	for _, r := range rigs {
		pubs = append(pubs, r.connect(mqtt.V5, "pub"))
	}
	for side, c := range pubs {
		rigs[side].probe(ends[side], "talk/probe", fmt.Sprint(side)) // the interest has passed the link
		for qos := range byte(3) {
			text := fmt.Sprint(side, qos)
			c.publish(qos, "talk/x", text)
			for _, to := range []*client{here, there} {
				if m := to.after("talk/probe"); m.topic != "talk/x" || m.payload != text || m.QoS != qos {
					t.Fatalf("from side %d: %+v, want %s at QoS %d", side, m, text, qos)
				}
			}
		}
	}
	for _, c := range pubs {
		c.publish(0, "talk/end", "") // after all of these
	}
	for _, c := range []*client{here, there} {
		for range 2 {
			if m := c.after("talk/probe"); m.topic != "talk/end" {
				t.Fatalf("twice: %+v", m)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for side := range 2 {
		for qos := range 3 {
			if text := fmt.Sprint("talk.x ", side, qos); heard[text] != 1 {
				t.Errorf("a backend at the hub heard %q %d times", text, heard[text])
			}
		}
	}
}

// probe publishes at r until c hears it: NATS tells nobody when an interest has passed a link.
func (r *rig) probe(c *client, topic, text string) {
	r.t.Helper()
	stop, stopped := make(chan struct{}), make(chan struct{})
	probe := r.connect(mqtt.V311, "probe")
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				probe.publish(0, topic, text)
			}
		}
	}()
	for c.message().payload != text {
	}
	close(stop)
	<-stopped
	probe.disconnect()
}

// after is the next message but those of a topic.
func (c *client) after(topic string) *got {
	c.t.Helper()
	for {
		if m := c.message(); m.topic != topic {
			return m
		}
	}
}

// TestCommandsFromHub: what a backend stores in a stream of the hub reaches a device at the site, though the device and the link are away, once and in order.
func TestCommandsFromHub(t *testing.T) {
	t.Parallel()
	h := bustest.StartHub(t)
	r := start(t, atSite(h, t.TempDir()), func(c *Config) { c.Durable.Routes = []string{"devices/+/cmd/#=stream COMMANDS"} })
	r.linked()
	hub := jetStreamOf(t, h.Conn(t))
	ctx := t.Context()
	if _, err := hub.CreateStream(ctx, jetstream.StreamConfig{Name: "TO_PLANT", Subjects: []string{"to.plant.>"}}); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/edge.md")
	if err != nil {
		t.Fatal(err)
	}
	made := regexp.MustCompile(`(?s)nats request '(\$JS\.API\.STREAM\.CREATE\.COMMANDS)' '(\{.*?\})'\n`).FindSubmatch(page)
	if made == nil {
		t.Fatal("docs/edge.md has no command that makes the stream")
	}
	if m, err := r.nats().Request(string(made[1]), made[2], patience); err != nil || strings.Contains(string(m.Data), `"error"`) {
		t.Fatalf("%v %s", err, m.Data)
	}
	r.eventually("the site can store", func() bool { ok, _ := r.gw.bus.Ready(); return ok })
	d1, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), "d1", persistent)
	d1.subscribe(1, "devices/d1/cmd/#")
	command := func(text string) {
		t.Helper()
		if _, err := hub.Publish(ctx, "to.plant.devices.d1.cmd.do", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	command("live")
	d1.gets("devices/d1/cmd/do", "live")
	d1.disconnect()
	command("away 1")
	h.Cut()
	command("away 2")
	h.Mend()
	command("away 3")
	d1, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), "d1", persistent)
	_ = d1.conn.SetDeadline(time.Now().Add(3 * time.Minute)) // the stream looks for its source again after tens of seconds
	for _, text := range []string{"away 1", "away 2", "away 3"} {
		d1.gets("devices/d1/cmd/do", text)
	}
}

// TestLeafIsTold: readiness and metrics tell of the link, and a site without its hub is ready.
func TestLeafIsTold(t *testing.T) {
	t.Parallel()
	h := bustest.StartHub(t)
	r := start(t, atSite(h, t.TempDir()))
	tells := func(path, text string) {
		t.Helper()
		r.eventually(path+" tells "+text, func() bool {
			resp, err := http.Get("http://" + r.gw.Addrs().Admin.String() + path)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			return err == nil && resp.StatusCode == http.StatusOK && strings.Contains(string(body), text)
		})
	}
	tells("/readyz?verbose", "[+]hub up; the hub lacks 0 messages of the log\n")
	tells("/metrics", "gateway_hub_linked 1\n")
	tells("/metrics", "gateway_hub_links_total 1\n")
	tells("/metrics", "gateway_hub_copies_log 1\n")
	h.Cut()
	tells("/readyz?verbose", "[+]hub down; devices go on")
	tells("/metrics", "gateway_hub_linked 0\n")
	h.Mend()
	tells("/metrics", "gateway_hub_links_total 2\n")
}

// TestLeafConfiguration: what is wrong with nats.leaf is said, each thing at its place.
func TestLeafConfiguration(t *testing.T) {
	for want, mod := range map[string]func(n *NATS){
		"nats.leaf.url: only the embedded NATS":                              func(n *NATS) { n.URL, n.Leaf.URL = "nats://127.0.0.1:4222", "nats-leaf://h" },
		"nats.leaf.url: the URL of a hub begins with":                        func(n *NATS) { n.Leaf.URL = "nats-leaf://h, http://i" },
		`nats.leaf.domain: "a b" is no JetStream domain; fix: a name`:        func(n *NATS) { n.Leaf.URL, n.Leaf.Domain = "tls://h", "a b" },
		`nats.leaf.hub_domain: "a.b" is no JetStream domain; fix`:            func(n *NATS) { n.Leaf.URL, n.Leaf.HubDomain = "tls://h", "a.b" },
		"nats.leaf.domain: the site and the hub":                             func(n *NATS) { n.Leaf.URL, n.Leaf.Domain, n.Leaf.HubDomain = "tls://h", "a", "a" },
		"nats.leaf: creds and user":                                          func(n *NATS) { n.Leaf.URL, n.Leaf.Creds, n.Leaf.User = "tls://h", "f", "u" },
		"nats.leaf.password: a password without a user; fix: nats.leaf.user": func(n *NATS) { n.Leaf.URL, n.Leaf.Password = "tls://h", "p" },
		"nats.leaf.tls: a client certificate needs both cert and key":        func(n *NATS) { n.Leaf.URL, n.Leaf.TLS.Cert = "tls://h", "f" },
	} {
		c := Default()
		mod(&c.NATS)
		errs := c.Validate()
		if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), want) {
			t.Errorf("%v, want %q", errs, want)
		}
	}
	c := Default()
	c.NATS.Leaf.URL = "nats-leaf://user:hunter2@h:7422, wss://i/leaf"
	if errs := c.Validate(); len(errs) > 0 {
		t.Error(errs)
	}
}

// TestSiteNeverSaysNobody: a request from the hub that reaches a site by the shape of its filters is for a device elsewhere, which may take its time.
func TestSiteNeverSaysNobody(t *testing.T) {
	t.Parallel()
	h := bustest.StartHub(t)
	r := start(t, atSite(h, t.TempDir()), func(c *Config) { c.NATS.InterestsMax, c.NATS.NobodyTime = 0, 50*time.Millisecond })
	r.linked()
	d := r.connect(mqtt.V5, "here")
	d.subscribe(1, "devices/here/cmd")
	nc := h.Conn(t)
	stop := time.After(patience)
	for heard := false; !heard; { // until the shape has passed the link
		if err := nc.Publish("devices.here.cmd", nil); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		p, err := nc.Request("devices.nobody.cmd", nil, 20*time.Millisecond)
		heard = err == nats.ErrTimeout // a subscriber, and no answer
		if err == nil || p != nil {
			t.Fatalf("an answer of nobody: %+v", p)
		}
		select {
		case <-stop:
			t.Fatal("the shape never reached the hub")
		default:
		}
	}
	if _, err := nc.Subscribe("devices.there.cmd", func(m *nats.Msg) {
		time.AfterFunc(500*time.Millisecond, func() { _ = m.Respond([]byte("done")) })
	}); err != nil {
		t.Fatal(err)
	}
	if m, err := nc.Request("devices.there.cmd", nil, patience); err != nil || string(m.Data) != "done" {
		t.Fatalf("%v %+v", err, m)
	}
}
