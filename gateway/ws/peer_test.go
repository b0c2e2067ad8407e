package ws

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// serveEcho is the smallest server on this package: it echoes messages, compressed on /deflate, answers pings, and closes
// as the RFC says.
func serveEcho(conn net.Conn, lim Limits) error {
	defer func() { _ = conn.Close() }()
	policy := &Policy{Accept: func(path []byte, offered []string) (string, int) {
		if string(path) != "/echo" && string(path) != "/deflate" || len(offered) == 0 {
			return "", http.StatusNotFound
		}
		return offered[0], 0
	}, Deflate: func(path []byte, _ string) bool { return string(path) == "/deflate" }}
	var (
		r       Reader
		inflate Inflater
		deflate Deflater
		in      []byte
		message []byte
		open    bool
		buffer  = make([]byte, 700) // smaller than most messages
	)
	for {
		k, err := conn.Read(buffer)
		if err != nil {
			return err
		}
		in = append(in, buffer[:k]...)
		var out []byte
		if !open {
			answer, req, n, status := policy.Upgrade(nil, in)
			if req.Deflate {
				r.AcceptDeflate()
			}
			in, out, open = in[n:], answer, status == http.StatusSwitchingProtocols
			if status != 0 && !open {
				_, err := conn.Write(out)
				return err
			}
		}
		for open {
			ch, n, code := r.Next(in, &lim)
			if code != 0 {
				_, err := conn.Write(AppendClose(out, code, ""))
				return err
			}
			if n == 0 {
				break
			}
			switch in = in[n:]; ch.Op {
			case OpPing:
				out = AppendFrame(out, OpPong, ch.Payload)
			case OpClose:
				code, _, bad := ParseClose(ch.Payload)
				_, err := conn.Write(AppendClose(out, max(code, bad), ""))
				return err
			case OpText, OpBinary:
				if message = append(message, ch.Payload...); !ch.Last {
					break
				}
				text := message
				if ch.Compressed {
					if text, code = inflate.Append(nil, ch.Op, message, lim.MessageBytesMax); code != 0 {
						_, err := conn.Write(AppendClose(out, code, ""))
						return err
					}
				}
				if r.Deflates() {
					out = deflate.AppendFrame(out, ch.Op, text)
				} else {
					out = AppendFrame(out, ch.Op, text)
				}
				message = message[:0]
			}
		}
		if len(out) == 0 {
			continue // a pipe would wait for a reader of nothing
		}
		if _, err := conn.Write(out); err != nil {
			return err
		}
	}
}

// dialEcho connects coder/websocket to serveEcho through a pipe.
func dialEcho(t *testing.T, path string, lim Limits) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	return dialEchoAs(t, path, lim, websocket.CompressionContextTakeover, &counted{})
}

// counted counts the bytes of a connection.
type counted struct {
	net.Conn
	read, written atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// dialEchoAs is dialEcho with a way to compress and the client's end of the pipe.
func dialEchoAs(t *testing.T, path string, lim Limits, mode websocket.CompressionMode, wire *counted) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	done := make(chan struct{})
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer close(done)
			_ = serveEcho(far, lim)
		}()
		wire.Conn = near
		return wire, nil
	}}}
	conn, resp, err := websocket.Dial(ctx, "ws://gateway.test"+path, &websocket.DialOptions{
		HTTPClient: client, Subprotocols: []string{"mqtt"}, CompressionMode: mode,
	})
	t.Cleanup(func() {
		if conn != nil {
			_ = conn.CloseNow()
		}
		<-done
	})
	return conn, resp, err
}

// TestPeerEcho: an independent client gets its messages back, of every length form and in fragments.
func TestPeerEcho(t *testing.T) {
	conn, _, err := dialEcho(t, "/echo", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if conn.Subprotocol() != "mqtt" {
		t.Fatalf("subprotocol %q", conn.Subprotocol())
	}
	conn.SetReadLimit(1 << 20)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, n := range lengths {
		echoes(ctx, t, conn, n)
	}
	reading := conn.CloseRead(ctx)
	if err := conn.Ping(ctx); err != nil {
		t.Fatalf("ping: %v", err)
	}
	if err := conn.Close(websocket.StatusNormalClosure, "done"); err != nil {
		t.Fatalf("close: %v", err)
	}
	<-reading.Done()
}

// echoes sends a text of about n bytes in fragments, expects it back, and returns its length.
func echoes(ctx context.Context, t *testing.T, conn *websocket.Conn, n int) int {
	t.Helper()
	want := []byte(strings.Repeat("é€😀.", n/10+1))[:n/10*10]
	w, err := conn.Writer(ctx, websocket.MessageText)
	if err != nil {
		t.Fatal(err)
	}
	// Each Write may become a fragment; their borders fall inside runes.
	for rest := want; len(rest) > 0; {
		k := min(len(rest), 4099)
		if _, err := w.Write(rest[:k]); err != nil {
			t.Fatal(err)
		}
		rest = rest[k:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	kind, got, err := conn.Read(ctx)
	if err != nil || kind != websocket.MessageText || !bytes.Equal(got, want) {
		t.Fatalf("length %d: %v, %d bytes back, %v", len(want), kind, len(got), err)
	}
	return len(want)
}

// TestPeerDeflate: an independent client that offers compression, with or without context takeover, gets its messages back
// through fewer bytes, both ways; a bomb of its own making ends with 1009.
func TestPeerDeflate(t *testing.T) {
	for name, mode := range map[string]websocket.CompressionMode{"without": websocket.CompressionNoContextTakeover, "with": websocket.CompressionContextTakeover} {
		wire := &counted{}
		conn, resp, err := dialEchoAs(t, "/deflate", Limits{MessageBytesMax: 1 << 20}, mode, wire)
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.Header.Get("Sec-WebSocket-Extensions"); got != deflateAnswer {
			t.Fatalf("%s: extension %q", name, got)
		}
		conn.SetReadLimit(1 << 20)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		total := 0
		for range 3 {
			for _, n := range lengths {
				total += echoes(ctx, t, conn, n)
			}
		}
		if up, down := wire.written.Load(), wire.read.Load(); int(up) > total/10 || int(down) > total/10 {
			t.Errorf("%s takeover: %d bytes took %d up and %d down", name, total, up, down)
		}
		_ = conn.Write(ctx, websocket.MessageBinary, make([]byte, 1<<20+1))
		if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
			t.Errorf("%s takeover, bomb: %v", name, err)
		}
	}
}

// TestPeerCloseCodes: an independent client reads the code that we close with.
func TestPeerCloseCodes(t *testing.T) {
	for name, c := range map[string]struct {
		kind    websocket.MessageType
		payload []byte
		want    websocket.StatusCode
	}{
		"too big":   {websocket.MessageBinary, make([]byte, 101), websocket.StatusMessageTooBig},
		"not UTF-8": {websocket.MessageText, []byte("a\xff"), websocket.StatusInvalidFramePayloadData},
	} {
		conn, _, err := dialEcho(t, "/echo", Limits{MessageBytesMax: 100})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		// The close may overtake the end of the write; what counts is the code read.
		_ = conn.Write(ctx, c.kind, c.payload)
		if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestPeerRefused: an independent client understands a refusal.
func TestPeerRefused(t *testing.T) {
	_, resp, err := dialEcho(t, "/elsewhere", Limits{})
	if err == nil || errors.Is(err, context.DeadlineExceeded) || resp == nil || resp.StatusCode != http.StatusNotFound {
		t.Fatalf("%v, %v", resp, err)
	}
}
