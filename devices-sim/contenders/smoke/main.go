// Command smoke asks a WebSocket contender for the work all of them must do the same way: an echo to the device and a
// message to NATS for every message, in order, once.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"
)

const (
	devices   = 50
	perDevice = 40
	patience  = 20 * time.Second
)

func main() {
	err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "port":
		return freePort()
	case len(args) == 3 && args[0] == "ws":
		return check("ws://127.0.0.1:"+args[1], args[2])
	}
	return errors.New("usage: smoke port | smoke ws PORT NATS-URL")
}

func freePort() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	return l.Close()
}

func check(base, natsURL string) error {
	nc, err := nats.Connect(natsURL)
	if err != nil {
		return err
	}
	defer nc.Close()
	up, err := nc.SubscribeSync("devices.*.up")
	if err != nil {
		return err
	}
	if err := nc.Flush(); err != nil {
		return err
	}
	for _, ask := range []func() error{
		func() error { return refuses(base + "/other") },
		func() error { return refuses(base + "/ws/a.b") },
		func() error { return echoes(base) },
		func() error { return arrives(up) },
		func() error { return assembles(base, up) },
		func() error { return answersPing(base) },
		func() error { return answersClose(base) },
	} {
		if err := ask(); err != nil {
			return err
		}
	}
	return nil
}

func name(device int) string { return fmt.Sprintf("pump-%03d", device) }

// message is 64 bytes, and now and then one whose length needs the longer header.
func message(device, n int) []byte {
	size := 64
	if n%16 == 15 {
		size = 16 << 10
	}
	m := bytes.Repeat([]byte{'.'}, size)
	copy(m, fmt.Sprintf("%s %d ", name(device), n))
	return m
}

func kind(n int) int { return websocket.TextMessage + n%2 }

func dial(url string) (*websocket.Conn, error) {
	c, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	return c, c.SetReadDeadline(time.Now().Add(patience))
}

func refuses(url string) error {
	c, resp, err := websocket.DefaultDialer.Dial(url, nil)
	if err == nil {
		c.Close()
		return fmt.Errorf("%s was accepted", url)
	}
	if resp == nil || resp.StatusCode == http.StatusSwitchingProtocols {
		return fmt.Errorf("%s: no HTTP answer: %w", url, err)
	}
	return nil
}

// echoes has all devices send everything before any of them reads.
func echoes(base string) error {
	var conns [devices]*websocket.Conn
	for d := range conns {
		c, err := dial(base + "/ws/" + name(d))
		if err != nil {
			return err
		}
		defer c.Close()
		conns[d] = c
	}
	for n := range perDevice {
		for d, c := range conns {
			if err := c.WriteMessage(kind(n), message(d, n)); err != nil {
				return err
			}
		}
	}
	for d, c := range conns {
		for n := range perDevice {
			k, p, err := c.ReadMessage()
			if err != nil {
				return fmt.Errorf("echo %d of %s: %w", n, name(d), err)
			}
			if k != kind(n) || !bytes.Equal(p, message(d, n)) {
				return fmt.Errorf("echo %d of %s: type %d, %d bytes, not what was sent", n, name(d), k, len(p))
			}
		}
	}
	return nil
}

func arrives(up *nats.Subscription) error {
	var next [devices]int
	for range devices * perDevice {
		m, err := up.NextMsg(patience)
		if err != nil {
			return fmt.Errorf("NATS: %w", err)
		}
		var d int
		if _, err := fmt.Sscanf(m.Subject, "devices.pump-%d.up", &d); err != nil || d < 0 || d >= devices {
			return fmt.Errorf("NATS: subject %s", m.Subject)
		}
		if !bytes.Equal(m.Data, message(d, next[d])) {
			return fmt.Errorf("NATS: message %d of %s is not what was sent", next[d], name(d))
		}
		next[d]++
	}
	if m, err := up.NextMsg(100 * time.Millisecond); err == nil {
		return fmt.Errorf("NATS: one too many on %s", m.Subject)
	}
	return nil
}

// assembles sends one message in two frames: a message longer than the client's buffer leaves it in pieces.
func assembles(base string, up *nats.Subscription) error {
	d := websocket.Dialer{WriteBufferSize: 256}
	c, _, err := d.Dial(base+"/ws/pump-000", nil)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	w, err := c.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return err
	}
	want := []byte(strings.Repeat("0123456789", 60))
	for rest := want; len(rest) > 0; rest = rest[100:] {
		if _, err := w.Write(rest[:100]); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if _, p, err := c.ReadMessage(); err != nil || !bytes.Equal(p, want) {
		return fmt.Errorf("message in frames: %d bytes echoed of %d, %v", len(p), len(want), err)
	}
	m, err := up.NextMsg(patience)
	if err != nil || !bytes.Equal(m.Data, want) {
		return fmt.Errorf("message in frames did not reach NATS whole: %v", err)
	}
	return nil
}

func answersPing(base string) error {
	c, err := dial(base + "/ws/pump-000")
	if err != nil {
		return err
	}
	defer c.Close()
	errPong := errors.New("pong")
	c.SetPongHandler(func(data string) error {
		if data != "still there" {
			return fmt.Errorf("pong carries %q", data)
		}
		return errPong
	})
	if err := c.WriteControl(websocket.PingMessage, []byte("still there"), time.Now().Add(patience)); err != nil {
		return err
	}
	if _, _, err := c.ReadMessage(); !errors.Is(err, errPong) {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

func answersClose(base string) error {
	c, err := dial(base + "/ws/pump-000")
	if err != nil {
		return err
	}
	defer c.Close()
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if err := c.WriteControl(websocket.CloseMessage, bye, time.Now().Add(patience)); err != nil {
		return err
	}
	if _, _, err := c.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}
