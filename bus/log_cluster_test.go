package bus_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

// startCluster starts three servers with JetStream, with the log and the bucket of sessions on all three.
func startCluster(t *testing.T) ([]*bustest.Server, jetstream.JetStream) {
	t.Helper()
	const size = 3
	var ports []int
	var routes []*url.URL
	for range size {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
		_ = l.Close()
	}
	var all []*bustest.Server
	for i := range size {
		all = append(all, bustest.Start(t, func(o *server.Options) {
			o.ServerName = fmt.Sprintf("n%d", i)
			o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[i]}
			o.Routes = routes
		}))
	}
	js, err := jetstream.New(all[0].Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []jetstream.StreamConfig{
		{Name: "TG_LOG", Subjects: []string{"$TG.log.>", "$TG.log2.>", "$TG.rel.*"}},
		{Name: "KV_TG_sessions", Subjects: []string{"$KV.TG_sessions.>"}, MaxMsgsPerSubject: 1, AllowRollup: true, DenyDelete: true},
	} {
		c.AllowDirect, c.AllowMsgTTL, c.Replicas = true, true, size
		eventually(t, c.Name, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err := js.CreateStream(ctx, c)
			return err == nil
		})
	}
	return all, js
}

func TestClusterWhoseFollowersAreBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers")
	}
	all, js := startCluster(t)
	var buses []*bus.Bus
	var tails []*logged
	for _, s := range all {
		b, l := reading(t, s)
		buses, tails = append(buses, b), append(tails, l)
	}
	after := follow(t, buses[0], 0, "n/#")
	f := feed(t, all[1].Conn(t))
	f.progress(t, 500)

	// Each Bus reads at its own server, so two of them at a follower.
	for i, b := range buses {
		var got []uint64
		at := after
		for reads := 0; reads < 100; reads++ {
			run, upTo, err := replay(t, b, bus.ReplayRead{After: at, Filters: filters("n/0", "n/1", "n/2"), Count: 1000})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, sequences(run)...)
			at = upTo
		}
		want := sequences(tails[0].wait(t, int(at-after)))[:at-after]
		if !slices.Equal(got, want) {
			t.Fatalf("server %d: %d messages up to %d, tail has %d", i, len(got), at, len(want))
		}
	}

	// The record goes round: who loads what is a moment old is fenced, and then told what is there.
	revision, fenced := uint64(0), 0
	for i := range 150 {
		b := buses[i%len(buses)]
		for {
			r := load(t, b, "c")
			now, err := save(t, b, "c", fmt.Sprint(i), r.Revision, 0)
			if err == nil {
				if now <= revision {
					t.Fatalf("revision %d after %d", now, revision)
				}
				revision = now
				break
			}
			if !errors.Is(err, bus.ErrFenced) {
				t.Fatal(err)
			}
			fenced++
			if r := load(t, b, "c"); r.Revision != revision || string(r.Value) != fmt.Sprint(i-1) {
				t.Fatalf("after a conflict: %+v, want revision %d", r, revision)
			}
		}
	}

	// Another leader, and then a server that dies.
	f.progress(t, 500)
	stepDown(t, all[2], "TG_LOG")
	f.progress(t, 500)
	all[1].Sever()
	all[2].Stop()
	f.progress(t, 500)
	f.finish()
	want := whole(t, js, after, "$TG.log.n.>")
	if got := sequences(tails[0].wait(t, len(want))); !slices.Equal(got, want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	t.Logf("%d messages, %d loads fenced, %d restarts", len(want), fenced, buses[0].Counters().LogRestarts)
}

// stepDown has a stream choose another leader.
func stepDown(t *testing.T, s *bustest.Server, stream string) {
	t.Helper()
	if _, err := s.Conn(t).Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil, 10*time.Second); err != nil {
		t.Fatal(err)
	}
}

// A server alone does not tell that somebody mirrors a stream, and lets the mirror answer direct gets.
func TestMirrorThatIsBehind(t *testing.T) {
	s, js := withLog(t)
	b, l := reading(t, s)
	after := follow(t, b, 0, "n/#")
	f := feed(t, s.Conn(t))
	f.progress(t, 100)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "MIRROR", Mirror: &jetstream.StreamSource{Name: "TG_LOG"}, MirrorDirect: true}); err != nil {
		t.Fatal(err)
	}
	var got []uint64
	at := after
	for range 100 {
		run, upTo, err := replay(t, b, bus.ReplayRead{After: at, Filters: filters("n/0", "n/1", "n/2"), Count: 1000})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, sequences(run)...)
		at = upTo
	}
	f.finish()
	want := sequences(l.wait(t, int(at-after)))[:at-after]
	if !slices.Equal(got, want) {
		t.Fatalf("%d messages up to %d, tail has %d", len(got), at, len(want))
	}
}
