// Command go-goroutines is the WebSocket contender in plain Go: net/http, gorilla/websocket, a goroutine for every device.
package main

import (
	"bytes"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"sync"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"

	"github.com/tidegate/tidegate/devices-sim/contenders/contract"
)

var clientID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// upgrader has small buffers: the write buffer is borrowed while a message is written, as the package advises for
// many connections with few writes.
var upgrader = websocket.Upgrader{
	ReadBufferSize:  1024,
	WriteBufferSize: 1024,
	WriteBufferPool: new(sync.Pool),
	CheckOrigin:     func(*http.Request) bool { return true },
}

// messages lends a buffer for one message, so that an idle device holds none.
var messages = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func main() {
	nc, err := nats.Connect(os.Getenv("BENCH_NATS"), nats.MaxReconnects(-1))
	if err != nil {
		contract.Fail(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws/{id}", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		if !clientID.MatchString(id) {
			http.Error(w, "client id: letters, digits, - and _", http.StatusBadRequest)
			return
		}
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // Upgrade has answered
		}
		c.SetReadLimit(64 << 10)
		// A goroutine of its own lets net/http free the request and its buffers.
		go serve(c, nc, "devices."+id+".up")
	})
	l, err := net.Listen("tcp", contract.Address())
	if err != nil {
		contract.Fail(err)
	}
	go func() { log.Fatal(http.Serve(l, mux)) }()
	contract.ServeUntilTerm()
	_ = nc.FlushTimeout(nats.DefaultTimeout)
}

func serve(c *websocket.Conn, nc *nats.Conn, subject string) {
	defer c.Close()
	for relay(c, nc, subject) == nil {
	}
}

// relay sends one message back to its device and on to NATS, where nats.go collects it for its flusher.
func relay(c *websocket.Conn, nc *nats.Conn, subject string) error {
	kind, r, err := c.NextReader()
	if err != nil {
		return err
	}
	m := messages.Get().(*bytes.Buffer)
	defer messages.Put(m)
	m.Reset()
	if _, err := m.ReadFrom(r); err != nil {
		return err
	}
	if err := nc.Publish(subject, m.Bytes()); err != nil {
		return err
	}
	return c.WriteMessage(kind, m.Bytes())
}
