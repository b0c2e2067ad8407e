package bustest

import (
	"fmt"
	"net"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// Hub is a Server that leaf nodes can link to, through a door of its own. Its methods are for the test's goroutine.
//
//	embedded server ──▶ door (LeafURL) ──▶ hub ◀── Conn
type Hub struct {
	*Server
	link *door
}

// StartHub starts a server with JetStream in the domain "hub". Each adjust may change its options.
func StartHub(t testing.TB, adjust ...func(*server.Options)) *Hub {
	t.Helper()
	address := freeAddress(t)
	host, port, _ := net.SplitHostPort(address)
	s := Start(t, append([]func(*server.Options){func(o *server.Options) {
		o.ServerName, o.JetStreamDomain, o.LeafNode.Host = "hub", "hub", host
		o.LeafNode.NoAdvertise = true // who is told of the address behind the door goes there
		if _, err := fmt.Sscan(port, &o.LeafNode.Port); err != nil {
			t.Fatalf("bustest: %v", err)
		}
	}}, adjust...)...)
	h := &Hub{Server: s, link: openDoor(t, "127.0.0.1:0", address)}
	t.Cleanup(h.link.shut)
	return h
}

// LeafURL is where leaf nodes link to; it stays the same over Cut and Mend.
func (h *Hub) LeafURL() string { return "nats-leaf://" + h.link.address }

// Cut breaks the links and lets no new one in.
func (h *Hub) Cut() { h.link.shut() }

// Mend lets links in again.
func (h *Hub) Mend() { h.link.reopen() }
