//go:build fault

package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// logStream is the stream of what devices publish with QoS 1 and 2.
const logStream = "TG_LOG"

// node is a NATS server of a cluster.
type node struct {
	*process
	url, monitor string
}

// healthy tells whether the server has caught up with its cluster.
func (n *node) healthy() bool { return n.running() && answersOK(n.monitor+"/healthz") }

// gate is a gateway.
type gate struct {
	*process
	host  string // address of its devices without the port
	addr  string // MQTT listener
	admin string
}

func (g *gate) ready() bool { return answersOK(g.admin + "/readyz") }

// metrics is the page, "" when the gateway does not answer.
func (g *gate) metrics() string { return fetch(g.admin + "/metrics") }

func answersOK(url string) bool { return fetch(url) != "" }

// fetch is the body of a 200.
func fetch(url string) string {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(body) + "\n"
}

// topology is NATS nodes and the gateways over them.
type topology struct {
	t     *testing.T
	nodes []*node
	gates []*gate
}

// startTopology starts three NATS nodes as a cluster and gateways over them, and waits until all are ready.
func startTopology(t *testing.T, gateways int, env ...string) *topology {
	t.Helper()
	x := &topology{t: t, nodes: startNATS(t, "127.0.0.1", 3)}
	for i := range gateways {
		g := newGate(t, fmt.Sprintf("gateway-%d", i+1), "127.0.0.1", append([]string{"GATEWAY_NATS_URL=" + x.urls()}, env...)...)
		g.start()
		x.gates = append(x.gates, g)
	}
	for _, g := range x.gates {
		eventually(t, time.Minute, g.name+" is ready", g.ready)
	}
	return x
}

// startNATS starts a cluster (or one server) and waits until it has a leader.
func startNATS(t *testing.T, host string, count int) []*node {
	t.Helper()
	var nodes []*node
	var routes []string
	ports := make([]int, count)
	for i := range ports {
		ports[i] = freePort(t)
		routes = append(routes, fmt.Sprintf("nats://%s:%d", host, ports[i]))
	}
	for i := range count {
		client, monitor := freePort(t), freePort(t)
		p := newProcess(t, fmt.Sprintf("nats-%d", i+1), natsBinary, "-c", "nats.conf")
		conf := fmt.Sprintf("server_name: %s\nlisten: \"%s:%d\"\nhttp: \"%s:%d\"\njetstream { store_dir: %q }\n",
			p.name, host, client, host, monitor, filepath.Join(p.dir, "store"))
		if count > 1 {
			conf += fmt.Sprintf("cluster { name: fault, listen: \"%s:%d\", no_advertise: true, routes: [%s] }\n",
				host, ports[i], strings.Join(routes, ", "))
		}
		if err := os.WriteFile(filepath.Join(p.dir, "nats.conf"), []byte(conf), 0o640); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, &node{process: p, url: fmt.Sprintf("nats://%s:%d", host, client), monitor: fmt.Sprintf("http://%s:%d", host, monitor)})
		p.start()
	}
	for _, n := range nodes {
		eventually(t, time.Minute, n.name+" is healthy", n.healthy)
	}
	return nodes
}

// newGate is a gateway that is not started yet. Its listeners are on host.
func newGate(t *testing.T, name, host string, env ...string) *gate {
	t.Helper()
	g := &gate{process: newProcess(t, name, gatewayBinary), host: host}
	g.addr, g.admin = fmt.Sprintf("%s:%d", host, freePort(t)), fmt.Sprintf("http://%s:%d", host, freePort(t))
	g.env = append(g.env, "GATEWAY_NODE="+name, "GATEWAY_LISTENERS=mqtt://"+g.addr, "GATEWAY_ADMIN="+strings.TrimPrefix(g.admin, "http://"),
		"GATEWAY_DATA="+filepath.Join(g.dir, "data"), "GATEWAY_LOG_FORMAT=json")
	g.env = append(g.env, "GATEWAY_DURABLE_DEFAULT=log")
	g.env = append(g.env, env...)
	return g
}

// startLonely starts one gateway with the embedded NATS; url is where backends reach that.
func startLonely(t *testing.T, env ...string) (g *gate, url string) {
	t.Helper()
	listen := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	g = newGate(t, "gateway", "127.0.0.1", append([]string{"GATEWAY_NATS_LISTEN=" + listen}, env...)...)
	g.start()
	eventually(t, time.Minute, g.name+" serves", func() bool { return g.metrics() != "" })
	return g, "nats://" + listen
}

func (x *topology) urls() string {
	var urls []string
	for _, n := range x.nodes {
		urls = append(urls, n.url)
	}
	return strings.Join(urls, ",")
}

// backend is a connection of a backend that finds its way back by itself.
func backend(t *testing.T, urls string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(urls, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.Timeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// leader is the node that leads a stream now.
func (x *topology) leader(js jetstream.JetStream, stream string) *node {
	x.t.Helper()
	var found *node
	eventually(x.t, 30*time.Second, stream+" has a leader", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		s, err := js.Stream(ctx, stream)
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		for _, n := range x.nodes {
			if n.name == s.CachedInfo().Cluster.Leader {
				found = n
			}
		}
		return found != nil
	})
	return found
}

// settled waits until every process runs and NATS is whole.
func (x *topology) settled() {
	x.t.Helper()
	for _, n := range x.nodes {
		eventually(x.t, time.Minute, n.name+" is healthy", n.healthy)
	}
	for _, g := range x.gates {
		eventually(x.t, time.Minute, g.name+" is ready", g.ready)
	}
}

// waitStream waits until a stream is there.
func waitStream(t *testing.T, js jetstream.JetStream, name string) jetstream.Stream {
	t.Helper()
	var stream jetstream.Stream
	err := errors.New("never asked")
	if !within(time.Minute, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		stream, err = js.Stream(ctx, name)
		return err == nil
	}) {
		t.Fatalf("stream %s: %v", name, err)
	}
	return stream
}
