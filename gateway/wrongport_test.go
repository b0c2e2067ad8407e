package gateway

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/rs/zerolog"
	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// logText keeps what a gateway logs. Safe from any goroutine.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// talkative is a gateway whose log is kept, from a level on. It has an MQTT port, a WebSocket port, and one that wants a PROXY header.
func talkative(t *testing.T, level zerolog.Level) (r *rig, log *logText) {
	t.Helper()
	cfg := Default()
	cfg.Loops, cfg.Admin, cfg.Data, cfg.NATS.Listen, cfg.Drain.Rate = 2, "127.0.0.1:0", t.TempDir(), "127.0.0.1:0", 0
	cfg.Listeners = []string{"mqtt://127.0.0.1:0", "ws://127.0.0.1:0", "any://127.0.0.1:0?proxy=any"}
	cfg.Proxy.Trusted = []string{"127.0.0.0/8"}
	unrecorded(&cfg)
	log = &logText{}
	g, err := New(cfg, zerolog.New(log).Level(level))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	at := g.Addrs().Listeners
	return &rig{t: t, gw: g, mqtt: at[0].Addr.String(), ws: at[1].Addr.String(), any: at[2].Addr.String()}, log
}

// TestFaultB13WrongPort: who speaks on the wrong port is counted each time, and named in the log once, with what to do about it.
func TestFaultB13WrongPort(t *testing.T) {
	t.Parallel()
	r, log := talkative(t, zerolog.WarnLevel)
	hello := "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
	connect := string((&client{v: mqtt.V5}).connectPacket("x"))
	get := string(ws.AppendHandshake(nil, "h", "/mqtt", "mqtt", testKey))
	for _, row := range []struct {
		name, addr, bytes string
		why               reason
		advice            string
	}{
		{"TLS to MQTT", r.mqtt, hello, reasonTLSHello, "TLS"},
		{"HTTP to MQTT", r.mqtt, get, reasonHTTP, "ws://"},
		{"MQTT to HTTP", r.ws, connect, reasonNotHTTP, "mqtt://"},
		{"PROXY header to MQTT", r.mqtt, "PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n", reasonProxyHeader, "proxy.trusted"},
		{"no PROXY header", r.any, connect, reasonNoProxyHeader, "PROXY header"},
	} {
		before := r.closedBy(row.why)
		for range 3 {
			c := r.open(mqtt.V5, row.addr)
			c.write([]byte(row.bytes))
			c.ended()
		}
		r.closesBy(row.why, before, 3)
		var lines []string
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, `"reason":"`+row.why.String()+`"`) {
				lines = append(lines, line)
			}
		}
		if len(lines) != 1 || !strings.Contains(lines[0], row.advice) || !strings.Contains(lines[0], `"peer":"127.0.0.1:`) {
			t.Errorf("%s: %q", row.name, lines)
		}
	}
	before := r.closedBy(reasonTLSHello)
	c := r.open(mqtt.V5, r.ws)
	c.write([]byte(hello))
	c.ended()
	r.closesBy(reasonTLSHello, before, 1) // TLS to a WebSocket port
}

// TestURLSecretsAreNotLogged: clients put tokens into the query of a WebSocket URL. No log line has it, at any level, whatever comes of the handshake.
func TestURLSecretsAreNotLogged(t *testing.T) {
	t.Parallel()
	r, log := talkative(t, zerolog.TraceLevel)
	for path, protocol := range map[string]string{
		"/mqtt?access_token=hunter2": "mqtt", "/ws/pump-7?access_token=hunter2": "", "/nowhere?access_token=hunter2": "", "/mqtt?password=hunter2": "none",
	} {
		conn, err := net.Dial("tcp", r.ws)
		if err != nil {
			t.Fatal(err)
		}
		fields := [][2]string{{"Authorization", "Bearer hunter2"}, {"Cookie", "session=hunter2"}}
		if _, err := conn.Write(ws.AppendHandshake(nil, r.ws, path, protocol, testKey, fields...)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("\xff\xff")); err != nil { // no frame: closes what was taken
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	r.eventually("all are logged as closed", func() bool { return strings.Count(log.String(), `"closed"`) == 4 })
	if text := log.String(); strings.Contains(text, "hunter2") {
		t.Errorf("the log has a secret:\n%s", text)
	}
}

// TestFaultD10CrossSite: a page of another site can't open a WebSocket with the rights of who looks at it, on any path. What comes from no browser has no
// Origin, and a list replaces the rule of the same host.
func TestFaultD10CrossSite(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name    string
		allowed []string
		origin  string // "" none; HOST the listener's own
		status  int
	}{
		{"no browser", nil, "", http.StatusSwitchingProtocols},
		{"the same site", nil, "http://HOST", http.StatusSwitchingProtocols},
		{"another site", nil, "https://evil.example", http.StatusForbidden},
		{"another port", nil, "http://127.0.0.1:1", http.StatusForbidden},
		{"the host as a user name", nil, "http://HOST@evil.example", http.StatusForbidden},
		{"the host as a beginning", nil, "http://HOST.evil.example", http.StatusForbidden},
		{"a sandboxed frame or a file", nil, "null", http.StatusForbidden},
		{"two origins in one", nil, "http://HOST http://evil.example", http.StatusForbidden},
		{"listed", []string{"app.example"}, "https://app.example", http.StatusSwitchingProtocols},
		{"not listed, though the same site", []string{"app.example"}, "http://HOST", http.StatusForbidden},
		{"ends like a listed one", []string{"app.example"}, "https://evilapp.example", http.StatusForbidden},
		{"below a listed one", []string{"app.example"}, "https://evil.app.example", http.StatusForbidden},
		{"any", []string{"*"}, "https://evil.example", http.StatusSwitchingProtocols},
	} {
		policy := ws.Policy{Origins: row.allowed}
		for _, path := range []string{"/mqtt", "/", "/ws/pump-7", "/echo", "/mqtt?access_token=x"} {
			var fields [][2]string
			if row.origin != "" {
				fields = [][2]string{{"Origin", strings.ReplaceAll(row.origin, "HOST", "gw.example:8083")}}
			}
			if _, _, _, status := policy.Upgrade(nil, ws.AppendHandshake(nil, "gw.example:8083", path, "mqtt", testKey, fields...)); status != row.status {
				t.Errorf("%s, %s: %d, want %d", row.name, path, status, row.status)
			}
		}
	}
	r, _ := talkative(t, zerolog.Disabled) // and the listener asks it
	before := r.closedBy(reasonHandshake)
	c := r.open(mqtt.V5, r.ws)
	if _, err := c.conn.Write(ws.AppendHandshake(nil, r.ws, "/mqtt", "mqtt", testKey, [2]string{"Origin", "https://evil.example"})); err != nil {
		t.Fatal(err)
	}
	if answer, _ := io.ReadAll(c.conn); !bytes.HasPrefix(answer, []byte("HTTP/1.1 403 ")) {
		t.Errorf("answer %q", answer)
	}
	c.ended()
	r.closesBy(reasonHandshake, before, 1)
}
