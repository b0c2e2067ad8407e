package bus_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

// three starts a cluster of three servers.
func three(t *testing.T) (all []*bustest.Server) {
	t.Helper()
	var ports [3]int
	var routes []*url.URL
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = l.Addr().(*net.TCPAddr).Port
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
		_ = l.Close()
	}
	for i := range ports {
		all = append(all, bustest.Start(t, func(o *server.Options) {
			o.ServerName, o.Routes = fmt.Sprint("n", i), routes
			o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[i]}
		}))
	}
	return all
}

// TestPresenceInCluster: three gateways at three servers, which read at followers that are behind; records and events are right all the same.
func TestPresenceInCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers")
	}
	const clients, steps = 30, 1500
	all := three(t)
	var keepers []*keeper
	for i, s := range all {
		keepers = append(keepers, watchman(t, s.URL(), fmt.Sprint("g", i), func(o *bus.PresenceOptions) { o.LeaseTime = 10 * time.Second }))
	}
	js, err := jetstream.New(all[0].Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"TG_PRESENCE", "KV_TG_presence", "KV_TG_gateways"} {
		s, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if n := s.CachedInfo().Config.Replicas; n != 3 {
			t.Errorf("%s has %d replicas", name, n)
		}
	}
	w := watchPresence(t, all[1].Conn(t))
	type state struct {
		generation uint64
		at         *keeper
	}
	latest, live := map[string]uint64{}, map[string]state{}
	for generation := uint64(1); generation <= steps; generation++ {
		client := fmt.Sprint("c", rand.IntN(clients))
		if was, ok := live[client]; ok {
			was.at.disconnect(client, "normal")
			delete(live, client)
		} else {
			to := keepers[rand.IntN(len(keepers))]
			to.connect(client, generation)
			live[client], latest[client] = state{generation, to}, generation
		}
		if generation%10 == 0 {
			time.Sleep(time.Millisecond) // so that batches are cut at random places
		}
	}
	for _, k := range keepers {
		k.written()
	}
	for client, generation := range latest {
		_, online := live[client]
		keepers[0].until("the record of "+client+" is right", func() bool {
			r, ok := w.record(client)
			return ok && r.Online == online && r.VersionNumber == generation
		})
	}
	for client, list := range w.collect() {
		if wrong := disorder(list); wrong != "" {
			t.Errorf("%s: %s", client, wrong)
		}
	}
}

// TestBucketsOfOthers: buckets that are there already, made with what any tool gives them, get what presence needs.
func TestBucketsOfOthers(t *testing.T) {
	s := bustest.Start(t)
	js, err := jetstream.New(s.Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"TG_presence", "TG_gateways"} {
		if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: name}); err != nil {
			t.Fatal(err)
		}
	}
	w := watchPresence(t, s.Conn(t))
	a := watchman(t, s.URL(), "a")
	a.connect("d", 7)
	a.until("it is recorded", func() bool { r, ok := w.record("d"); return ok && r.Online })
}

// TestNoJetStream: without JetStream nothing is kept, and nothing waits.
func TestNoJetStream(t *testing.T) {
	s := bustest.Start(t, func(o *server.Options) { o.JetStream = false })
	b, err := bus.Open(t.Context(), bus.Options{URLs: []string{s.URL()}})
	if err != nil {
		t.Fatal(err)
	}
	nc := s.Conn(t)
	sub, err := nc.SubscribeSync("$JS.API.>")
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := b.NewPresence(bus.PresenceOptions{Announce: func() { t.Error("a lease") }, Load: func() (int, []string) { return 0, nil }})
	p.Start()
	if _, err := sub.NextMsg(20 * time.Second); err != nil {
		t.Fatalf("it does not ask: %v", err)
	}
	p.Note(&bus.PresenceState{Client: "d", Generation: 1, Online: true})
	if n := p.Counters(); n.Active || n.Waiting != 0 {
		t.Errorf("%+v", n)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
