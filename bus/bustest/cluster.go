package bustest

import (
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Cluster is three NATS servers with JetStream, with a door in front of each for clients and one between every two for their routes.
// Its methods are for the test's goroutine; nodes are 0, 1 and 2.
//
//	bus ──▶ door ──▶ node 0 ──▶ door ──▶ node 1
type Cluster struct {
	t       testing.TB
	options [clusterNodes]server.Options
	nodes   [clusterNodes]*server.Server // nil while stopped
	doors   [clusterNodes]*door
	routes  []route
	conns   []*nats.Conn
}

const clusterNodes = 3

// route is the way from one node to another.
type route struct {
	from, to int
	door     *door
}

// StartCluster starts three servers with JetStream directories of their own and waits until JetStream has a leader and all are with it. Each
// adjust may change the options of a node. All is stopped when the test ends.
func StartCluster(t testing.TB, adjust ...func(*server.Options)) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	var ports [clusterNodes]string
	for i := range c.nodes {
		ports[i] = freeAddress(t)
	}
	for i := range c.nodes {
		o := server.Options{
			Host: "127.0.0.1", Port: server.RANDOM_PORT, ServerName: fmt.Sprint("n", i),
			JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		}
		o.Cluster.Name, o.Cluster.PoolSize, o.Cluster.NoAdvertise = "bustest", -1, true
		host, port, _ := net.SplitHostPort(ports[i])
		o.Cluster.Host = host
		if _, err := fmt.Sscan(port, &o.Cluster.Port); err != nil {
			t.Fatalf("bustest: %v", err)
		}
		for j := range c.nodes {
			if i == j {
				continue
			}
			d := openDoor(t, "127.0.0.1:0", ports[j])
			c.routes = append(c.routes, route{i, j, d})
			o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: d.address})
		}
		for _, f := range adjust {
			f(&o)
		}
		c.options[i] = o
	}
	t.Cleanup(c.stopAll)
	for i := range c.nodes {
		c.startNode(i)
		c.doors[i] = openDoor(t, "127.0.0.1:0", c.nodes[i].Addr().String())
	}
	c.await("JetStream has a leader that all follow", func() bool {
		for _, s := range c.nodes {
			if s.JetStreamIsLeader() {
				return len(s.JetStreamClusterPeers()) == clusterNodes
			}
		}
		return false
	})
	return c
}

// At returns the node that a URL is the door of, or -1.
func (c *Cluster) At(url string) int {
	for i, d := range c.doors {
		if url == "nats://"+d.address {
			return i
		}
	}
	return -1
}

// freeAddress is an address of 127.0.0.1 that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// URLs are where the code under test connects: the doors of the nodes, or of all when none is named. They stay the same over Stop and Restart.
func (c *Cluster) URLs(nodes ...int) []string {
	if len(nodes) == 0 {
		nodes = []int{0, 1, 2}
	}
	var all []string
	for _, i := range nodes {
		all = append(all, "nats://"+c.doors[i].address)
	}
	return all
}

// Conn returns a connection straight to some node, which comes back by itself.
func (c *Cluster) Conn(t testing.TB) *nats.Conn {
	t.Helper()
	var all string
	for i := range c.nodes {
		all += fmt.Sprintf("nats://127.0.0.1:%d,", c.options[i].Port)
	}
	nc, err := nats.Connect(all[:len(all)-1], nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatalf("bustest: connect: %v", err)
	}
	c.conns = append(c.conns, nc)
	t.Cleanup(nc.Close)
	return nc
}

// Leader waits until a stream has a leader and returns its node.
func (c *Cluster) Leader(stream string) int {
	c.t.Helper()
	leader := -1
	c.await("the stream "+stream+" has a leader", func() bool {
		for i, s := range c.nodes {
			if s != nil && s.GlobalAccount().JetStreamIsStreamLeader(stream) {
				leader = i
			}
		}
		return leader >= 0
	})
	return leader
}

// StepDown has the leader of a stream give up its office, and returns the node that had it.
func (c *Cluster) StepDown(stream string) int {
	c.t.Helper()
	i := c.Leader(stream)
	if err := c.nodes[i].JetStreamStepdownStream(c.nodes[i].GlobalAccount().GetName(), stream); err != nil {
		c.t.Logf("bustest: step down of %s: %v", stream, err) // it was no leader any longer
	}
	return i
}

// Stop shuts a node down: its clients first, at once, then itself.
func (c *Cluster) Stop(i int) {
	if c.doors[i] != nil {
		c.doors[i].shut()
	}
	if c.nodes[i] == nil {
		return
	}
	c.nodes[i].Shutdown()
	c.nodes[i].WaitForShutdown()
	c.nodes[i] = nil
}

// Restart starts a stopped node on the same ports with the same data. It may take a while until its streams are there.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	c.startNode(i)
	c.doors[i].reopen()
}

// Freeze lets no byte in or out of a node, as if its machine hung: connections stay. The node itself goes on and finds out that it is alone.
func (c *Cluster) Freeze(i int) {
	c.doors[i].pause()
	for _, r := range c.routes {
		if r.from == i || r.to == i {
			r.door.pause()
		}
	}
}

// Thaw ends Freeze; what waited arrives.
func (c *Cluster) Thaw(i int) {
	for _, r := range c.routes {
		if r.from == i || r.to == i {
			r.door.resume()
		}
	}
	c.doors[i].resume()
}

func (c *Cluster) startNode(i int) {
	c.t.Helper()
	options := c.options[i]
	s, err := server.NewServer(&options)
	if err != nil {
		c.t.Fatalf("bustest: %v", err)
	}
	go s.Start()
	if !s.ReadyForConnections(patience) {
		c.t.Fatalf("bustest: node %d is not ready", i)
	}
	c.nodes[i] = s
	c.options[i].Port = s.Addr().(*net.TCPAddr).Port
}

func (c *Cluster) stopAll() {
	for _, nc := range c.conns {
		nc.Close()
	}
	for _, r := range c.routes {
		r.door.resume()
		r.door.shut()
	}
	for i := range c.nodes {
		c.Stop(i)
	}
}

// await polls for what servers tell nobody.
func (c *Cluster) await(what string, holds func() bool) {
	c.t.Helper()
	for end := time.Now().Add(2 * patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("bustest: never: %s", what)
		}
	}
}
