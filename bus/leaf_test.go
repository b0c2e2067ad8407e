package bus_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

// openLeaf opens a Bus whose embedded server is a leaf of the hub, with a log.
func openLeaf(t *testing.T, h *bustest.Hub, dir string, adjust ...func(*bus.Options)) *bus.Bus {
	t.Helper()
	o := bus.Options{
		DataDir: dir, ListenAddr: "127.0.0.1:0", Durable: &bus.Durable{},
		Leaf: &bus.Leaf{URLs: []string{h.LeafURL()}, Domain: "plant", HubDomain: "hub"},
	}
	for _, f := range adjust {
		f(&o)
	}
	b, err := openEmbedded(t, o)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log is there", func() bool { ok, _ := b.Ready(); return ok })
	return b
}

// storedIn is how many messages a stream has; -1: there is no such stream, or nobody answers.
func storedIn(js jetstream.JetStream, stream string) int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return -1
	}
	return int(s.CachedInfo().State.Msgs)
}

// within waits longer than eventually: a mirror that lost its origin looks for it again after tens of seconds.
func within(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// TestLeafKeepsApart: natural subjects pass the link both ways; what is stored at one side is stored there only, under the same names, and what gateways say
// among themselves stays on its side. The hub hears who connects.
func TestLeafKeepsApart(t *testing.T) {
	h := bustest.StartHub(t)
	hubJS := makeStreams(t, h.Conn(t)) // the log of gateways at the hub
	b := openLeaf(t, h, t.TempDir())
	eventually(t, "the link stands", func() bool { return b.Leaf().Up })
	if b.Alone() {
		t.Error("alone, with a hub")
	}
	here, err := nats.Connect(b.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	hereJS, there := jetStream(t, here), h.Conn(t)

	var mu sync.Mutex
	var heard []string
	hear := func(nc *nats.Conn, side string) {
		for _, subject := range []string{
			"devices.>", "_TG.>", "$KV.>", "$TG.log.>", "$TG.log2.>", "$TG.rel.>", "$TG.state.>", "$TG.presence.>", "$TG.service.>", "$TG.control.>",
		} {
			if _, err := nc.Subscribe(subject, func(m *nats.Msg) {
				mu.Lock()
				heard = append(heard, side+" "+m.Subject)
				mu.Unlock()
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	hear(here, "site")
	hear(there, "hub")
	has := func(text string) bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Contains(heard, text)
	}
	within(t, 10*time.Second, "subjects pass both ways", func() bool {
		pass := true
		for _, prefix := range []string{"devices.", "$TG.presence.probe."} { // a server learns of each subscription by itself
			_, _ = here.Publish(prefix+"up", nil), there.Publish(prefix+"down", nil)
			pass = pass && has("hub "+prefix+"up") && has("site "+prefix+"down")
		}
		return pass
	})

	put(t, hereJS, "$TG.log.a", "here")
	put(t, hubJS, "$TG.log.b", "there")
	put(t, hubJS, "$TG.log.b", "there")
	for _, nc := range []*nats.Conn{here, there} {
		for _, subject := range []string{"$TG.log2.c.a", "$TG.rel.c", "$TG.state.connected.c", "$TG.service.presence.x", "$TG.control.x", "_TG.gateways", "_TG.requests"} {
			if err := nc.Publish(subject, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, _ = here.Publish("$TG.presence.connected.c", nil), there.Publish("$TG.presence.connected.d", nil)
	_, _ = here.Publish("devices.end", nil), there.Publish("devices.end", nil) // after all of these, on the same ways
	eventually(t, "the last one arrives at both", func() bool { return has("hub devices.end") && has("site devices.end") })
	if n := storedIn(hereJS, "TG_LOG"); n != 3 {
		t.Errorf("the site's log has %d messages, want its own 3", n)
	}
	if n := storedIn(hubJS, "TG_LOG"); n != 4 {
		t.Errorf("the hub's log has %d messages, want its own 4", n)
	}
	mu.Lock()
	defer mu.Unlock()
	count := map[string]int{}
	for _, text := range heard {
		if (strings.Contains(text, "$TG") || strings.Contains(text, "_TG")) && !strings.Contains(text, ".probe.") {
			count[text]++
		}
	}
	for text, n := range count {
		want := 1
		if text == "hub $TG.log.b" {
			want = 2
		}
		if n != want {
			t.Errorf("%s: heard %d times, want %d", text, n, want)
		}
	}
	if count["hub $TG.presence.connected.c"] != 1 || count["site $TG.presence.connected.d"] != 1 || len(count) != 20 {
		t.Errorf("heard %v", count)
	}
}

// TestLeafCopy: the hub has a copy of the log, in order and complete, also of what was stored while the link was down at the start, cut later, and over a
// restart in between; and what is stored is stored at once all the time.
func TestLeafCopy(t *testing.T) {
	t.Parallel()
	h := bustest.StartHub(t)
	h.Cut()
	dir := t.TempDir()
	b := openLeaf(t, h, dir)
	if s := b.Leaf(); s.Up || s.Copied {
		t.Fatalf("no link yet: %+v", s)
	}
	next := 0
	storeSome := func(n int) {
		t.Helper()
		nc, err := nats.Connect(b.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js := jetStream(t, nc)
		for range n {
			put(t, js, "$TG.log.up", fmt.Sprint(next))
			next++
		}
	}
	storeSome(100)
	h.Mend()
	eventually(t, "the link stands", func() bool { return b.Leaf().Up })
	hub := jetStream(t, h.Conn(t))
	copied := func() bool { return storedIn(hub, bus.LogCopy("plant")) == next }
	within(t, 60*time.Second, "the hub has what was stored before", copied)
	storeSome(100)
	within(t, 60*time.Second, "the hub has what is stored now", copied)
	within(t, 60*time.Second, "the copy is told", func() bool { s := b.Leaf(); return s.Copied && s.Lag == 0 && s.CopyErr == nil })

	h.Cut()
	eventually(t, "the link is down", func() bool { return !b.Leaf().Up })
	storeSome(100)
	within(t, 30*time.Second, "the lag is told", func() bool { return b.Leaf().Lag == 100 })
	if err := b.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	b = openLeaf(t, h, dir)
	storeSome(100)
	h.Mend()
	within(t, 3*time.Minute, "the hub has all", copied)

	s, err := hub.Stream(t.Context(), bus.LogCopy("plant"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range next {
		m, err := s.GetMsg(t.Context(), uint64(i)+1)
		if err != nil || string(m.Data) != fmt.Sprint(i) || m.Subject != "$TG.log.up" {
			t.Fatalf("message %d of the copy: %v %+v", i, err, m)
		}
	}
}

// TestLeafLogAnew: a site that lost its data is told that the hub's copy takes nothing of the new log; when the copy is removed it is made again.
func TestLeafLogAnew(t *testing.T) {
	t.Parallel()
	h := bustest.StartHub(t)
	hub := jetStream(t, h.Conn(t))
	storeAt := func(b *bus.Bus, n int) {
		t.Helper()
		nc, err := nats.Connect(b.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		for range n {
			put(t, jetStream(t, nc), "$TG.log.up", "x")
		}
	}
	b := openLeaf(t, h, t.TempDir())
	storeAt(b, 5)
	within(t, 60*time.Second, "the hub has all", func() bool { return storedIn(hub, bus.LogCopy("plant")) == 5 })
	if err := b.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	b = openLeaf(t, h, t.TempDir())
	storeAt(b, 1)
	within(t, 30*time.Second, "the new log is told", func() bool {
		err := b.Leaf().CopyErr
		return err != nil && strings.Contains(err.Error(), "made anew") && strings.Contains(err.Error(), "ends at 5")
	})
	if err := hub.DeleteStream(t.Context(), bus.LogCopy("plant")); err != nil {
		t.Fatal(err)
	}
	within(t, 60*time.Second, "the copy is made again", func() bool {
		s := b.Leaf()
		return storedIn(hub, bus.LogCopy("plant")) == 1 && s.CopyErr == nil && s.Lag == 0
	})
}

// TestLeafErrors: what is wrong with a leaf node is said before anything starts.
func TestLeafErrors(t *testing.T) {
	for want, o := range map[string]bus.Options{
		"only the embedded NATS":       {URLs: []string{"nats://127.0.0.1:1"}, Leaf: &bus.Leaf{URLs: []string{"nats-leaf://h"}, Domain: "d"}},
		"needs the URL of its hub":     {Embedded: true, DataDir: t.TempDir(), Leaf: &bus.Leaf{Domain: "d"}},
		`"a.b" is no JetStream domain`: {Embedded: true, DataDir: t.TempDir(), Leaf: &bus.Leaf{URLs: []string{"nats-leaf://h"}, Domain: "a.b"}},
		"the same JetStream domain":    {Embedded: true, DataDir: t.TempDir(), Leaf: &bus.Leaf{URLs: []string{"nats-leaf://h"}, Domain: "d", HubDomain: "d"}},
		`begins with "http"`:           {Embedded: true, DataDir: t.TempDir(), Leaf: &bus.Leaf{URLs: []string{"http://h"}, Domain: "d"}},
		"does not parse":               {Embedded: true, DataDir: t.TempDir(), Leaf: &bus.Leaf{URLs: []string{"nats-leaf://"}, Domain: "d"}},
		"leaf credentials file":        {Embedded: true, DataDir: t.TempDir(), Leaf: &bus.Leaf{URLs: []string{"nats-leaf://h"}, Domain: "d", CredsFile: "/nowhere"}},
		"TLS CA file":                  {Embedded: true, DataDir: t.TempDir(), Leaf: &bus.Leaf{URLs: []string{"tls://h"}, Domain: "d", TLSCAFile: "/nowhere"}},
	} {
		b, err := bus.Open(t.Context(), o)
		if err == nil {
			_ = b.Close(context.Background())
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

// TestLeafCopyRefused: a hub that does not copy the log is told with its reason; what is stored at the site is stored.
func TestLeafCopyRefused(t *testing.T) {
	h := bustest.StartHub(t, func(o *server.Options) { o.JetStreamDomain = "centre" })
	told := make(chan bus.LeafStatus, 16)
	b := openLeaf(t, h, t.TempDir(), func(o *bus.Options) {
		o.OnLeaf = func(s bus.LeafStatus) { told <- s }
	})
	for {
		select {
		case s := <-told:
			if s.CopyErr == nil {
				continue
			}
			if !strings.Contains(s.CopyErr.Error(), "hub_domain") || !s.Up {
				t.Fatalf("%+v", s)
			}
			if ok, err := b.Ready(); !ok {
				t.Fatal(err)
			}
			return
		case <-time.After(patience):
			t.Fatal("nothing was told")
		}
	}
}

// TestLeafCopyByHand: a hub whose JetStream has no domain can't be asked from the site; its operator makes the copy as docs/edge.md says.
func TestLeafCopyByHand(t *testing.T) {
	h := bustest.StartHub(t, func(o *server.Options) { o.JetStreamDomain = "" })
	b := openLeaf(t, h, t.TempDir(), func(o *bus.Options) { o.Leaf.HubDomain = "" })
	eventually(t, "the link stands", func() bool { return b.Leaf().Up })
	here, err := nats.Connect(b.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	put(t, jetStream(t, here), "$TG.log.up", "1")
	there := h.Conn(t)
	page, err := os.ReadFile("../docs/edge.md")
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?s)nats request '(\$JS\.API\.STREAM\.CREATE\.TG_LOG_plant)' '(\{.*?\})'\n`).FindSubmatch(page)
	if command == nil {
		t.Fatal("docs/edge.md has no command that makes the copy")
	}
	if m, err := there.Request(string(command[1]), command[2], patience); err != nil || strings.Contains(string(m.Data), `"error"`) {
		t.Fatalf("%v %s", err, m.Data)
	}
	within(t, 60*time.Second, "the copy is there", func() bool { return storedIn(jetStream(t, there), bus.LogCopy("plant")) == 1 })
}

// TestLeafLogin: over TLS with a client certificate, and as a user; with a wrong password there is no link, and the site works.
func TestLeafLogin(t *testing.T) {
	caPair, caPEM, _ := certificate(t, "ca", nil)
	serverPair, _, _ := certificate(t, "127.0.0.1", &caPair)
	_, clientCert, clientKey := certificate(t, "site", &caPair)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(caPEM)
	h := bustest.StartHub(t, func(o *server.Options) {
		o.LeafNode.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{serverPair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
		o.LeafNode.TLSTimeout = 5
		o.LeafNode.Username, o.LeafNode.Password = "plant", "right:@/"
	})
	login := func(password string) func(o *bus.Options) {
		return func(o *bus.Options) {
			o.Leaf.TLSCAFile, o.Leaf.TLSCertFile, o.Leaf.TLSKeyFile = file(t, "ca.pem", caPEM), file(t, "c.pem", clientCert), file(t, "k.pem", clientKey)
			o.Leaf.User, o.Leaf.Password = "plant", password
		}
	}
	good := openLeaf(t, h, t.TempDir(), login("right:@/"))
	eventually(t, "the link stands", func() bool { return good.Leaf().Up })
	refused := make(chan string, 64)
	bad := openLeaf(t, h, t.TempDir(), login("wrong"), func(o *bus.Options) {
		o.Logf = func(level, format string, args ...any) {
			if text := fmt.Sprintf(format, args...); level == "error" && strings.Contains(text, "Authorization Violation") {
				select {
				case refused <- text:
				default:
				}
			}
		}
	})
	select {
	case <-refused:
	case <-time.After(patience):
		t.Fatal("nobody says that the password is wrong")
	}
	works(t, bad)
}
