// Package bustest is an embedded NATS that a test can stop, cut off, pause and start again.
//
// Clients under test connect to URL, a door in front of the server; the test's own observers connect to the server directly with Conn.
// So a fault at the door is exact: what passed it is seen by the observers, in order, and nothing else.
//
//	bus ──▶ door (URL) ──▶ nats-server ◀── Conn
package bustest

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Server is a NATS server with JetStream and a door in front. Its methods are for the test's goroutine.
type Server struct {
	t       testing.TB
	options server.Options
	server  *server.Server
	door    *door
	conns   []*nats.Conn
	login   []nats.Option
}

// patience is how long a step of a test may take before it fails.
const patience = 20 * time.Second

// Start starts a server on a random port of 127.0.0.1 with a JetStream directory of its own. Each adjust may change its options, such
// as users or TLS. All is stopped when the test ends.
func Start(t testing.TB, adjust ...func(*server.Options)) *Server {
	t.Helper()
	s := &Server{t: t, options: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, ServerName: "bustest",
		JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	}}
	for _, f := range adjust {
		f(&s.options)
	}
	s.startServer()
	s.door = openDoor(t, "127.0.0.1:0", s.server.Addr().String())
	t.Cleanup(s.Stop)
	return s
}

// URL is where the code under test connects; it stays the same over Stop and Restart.
func (s *Server) URL() string { return "nats://" + s.door.address }

// Login sets how Conn logs in, for a server with users.
func (s *Server) Login(options ...nats.Option) { s.login = options }

// Conn returns a connection straight to the server, which comes back after Restart with its subscriptions.
func (s *Server) Conn(t testing.TB) *nats.Conn {
	t.Helper()
	options := append([]nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.IgnoreAuthErrorAbort(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, s.login...)
	nc, err := nats.Connect("nats://"+s.server.Addr().String(), options...)
	if err != nil {
		t.Fatalf("bustest: connect: %v", err)
	}
	s.conns = append(s.conns, nc)
	t.Cleanup(nc.Close)
	return nc
}

// Sever breaks every connection through the door at once, with what was under way in them. New ones are let in.
func (s *Server) Sever() { s.door.sever() }

// Shut breaks every connection through the door and refuses new ones, as when NATS is away; the server itself goes on.
func (s *Server) Shut() { s.door.shut() }

// Reopen lets connections in again, on the same port.
func (s *Server) Reopen() { s.door.reopen() }

// Pause lets no byte through the door, as when NATS hangs, but keeps all connections. Resume goes on.
func (s *Server) Pause() { s.door.pause() }

// Resume ends Pause.
func (s *Server) Resume() { s.door.resume() }

// Stop kills the server: first the door, then, when the observers have what the server took, the server.
func (s *Server) Stop() {
	s.door.shut()
	if s.server == nil {
		return
	}
	for _, nc := range s.conns {
		if nc.IsConnected() {
			_ = nc.FlushTimeout(patience)
		}
	}
	s.server.Shutdown()
	s.server.WaitForShutdown()
	s.server = nil
}

// Restart starts a stopped server on the same ports with the same data, waits until the observers are back, then opens the door.
func (s *Server) Restart() {
	s.t.Helper()
	s.startServer()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		back := true
		for _, nc := range s.conns {
			back = back && (nc.IsClosed() || nc.IsConnected() && nc.FlushTimeout(patience) == nil)
		}
		if back {
			break
		}
		if time.Now().After(end) {
			s.t.Fatal("bustest: observers did not reconnect")
		}
	}
	s.door.reopen()
}

func (s *Server) startServer() {
	s.t.Helper()
	options := s.options
	ns, err := server.NewServer(&options)
	if err != nil {
		s.t.Fatalf("bustest: %v", err)
	}
	go ns.Start()
	if !ns.ReadyForConnections(patience) {
		s.t.Fatal("bustest: server is not ready")
	}
	s.server = ns
	s.options.Port = ns.Addr().(*net.TCPAddr).Port
}
