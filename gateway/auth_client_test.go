package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/tidegate/tidegate/gateway/auth"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

const methodSCRAM = "SCRAM-SHA-256"

// withUsers sets the gateway up for these users; the password is "pw of NAME".
func withUsers(t testing.TB, names ...string) func(c *Config) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users.scram")
	var text strings.Builder
	for _, name := range names {
		u, err := auth.NewUser(name, "pw of "+name, []byte("sixteen bytes of"), auth.IterationsMin)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString(u.String() + "\n")
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.Auth.SCRAMFile = path }
}

func nobody(c *Config) { c.Auth.Anonymous = "nobody" }

// prover is the client's side of SCRAM, by the library.
func prover(t testing.TB, name, password string) *scram.ClientConversation {
	t.Helper()
	c, err := scram.SHA256.NewClient(name, password, "")
	if err != nil {
		t.Fatal(err)
	}
	return c.NewConversation()
}

// says is what the client has to say to the server's last words.
func says(t testing.TB, p *scram.ClientConversation, heard []byte) []byte {
	t.Helper()
	said, err := p.Step(string(heard))
	if err != nil {
		t.Fatalf("the client does not take %q: %v", heard, err)
	}
	return []byte(said)
}

// beginLogin sends CONNECT with the client's first words and expects AUTH.
func (c *client) beginLogin(id string, p *scram.ClientConversation, mods ...func(o *mqtt.ConnectOut)) *got {
	c.t.Helper()
	c.write(c.connectPacket(id, append(mods, func(o *mqtt.ConnectOut) {
		o.AuthMethod, o.AuthData = []byte(methodSCRAM), says(c.t, p, nil)
	})...))
	return c.challenged()
}

// challenged expects an AUTH that asks for more, and says nothing that it need not.
func (c *client) challenged() *got {
	c.t.Helper()
	g := c.expect(mqtt.TypeAuth)
	if g.Reason != mqtt.ContinueAuthentication || string(g.Props.AuthMethod) != methodSCRAM {
		c.t.Fatalf("AUTH %v with the method %q", g.Reason, g.Props.AuthMethod)
	}
	if g.Props.Has(mqtt.PropReasonString) || g.Props.UserCount > 0 {
		c.t.Errorf("AUTH says %q", g.Props.ReasonString)
	}
	return g
}

func (c *client) auth(r mqtt.Reason, data []byte) {
	c.t.Helper()
	c.write(mqtt.AppendAuth(nil, r, []byte(methodSCRAM), data))
}

// logInOn is a whole login as a user; CONNACK must end it.
func (r *rig) logInOn(c *client, id, user string, mods ...func(o *mqtt.ConnectOut)) (*client, *got) {
	r.t.Helper()
	p := prover(r.t, user, "pw of "+user)
	g := c.beginLogin(id, p, mods...)
	c.auth(mqtt.ContinueAuthentication, says(r.t, p, g.Props.AuthData))
	ack := c.expect(mqtt.TypeConnack)
	if ack.Reason != mqtt.Success {
		r.t.Fatalf("CONNACK %v", ack.Reason)
	}
	if says(r.t, p, ack.Props.AuthData); !p.Valid() {
		r.t.Fatal("the client does not believe the server")
	}
	return c, ack
}

func (r *rig) logIn(id, user string, mods ...func(o *mqtt.ConnectOut)) *client {
	r.t.Helper()
	c, _ := r.logInOn(r.open(mqtt.V5, r.mqtt), id, user, mods...)
	return c
}

// refused expects CONNACK with a reason and, for a proof that failed, nothing that tells why; and the end.
func (c *client) refused(why mqtt.Reason) {
	c.t.Helper()
	g := c.expect(mqtt.TypeConnack)
	if g.Reason != why {
		c.t.Errorf("CONNACK %v, want %v", g.Reason, why)
	}
	why5 := string(g.Props.ReasonString)
	if why == mqtt.NotAuthorized && why5 != "" && why5 != "not authorized" && why5 != refusedAnonymous.text() || g.Props.Has(mqtt.PropAuthData) {
		c.t.Errorf("CONNACK tells more: %x", g.Props.Raw)
	}
	if r, _ := c.end(); r != mqtt.Success {
		c.t.Errorf("DISCONNECT %v after CONNACK", r)
	}
}

// authenticated is gateway_authentications_total{result}.
func (r *rig) authenticated(result authResult) uint64 {
	r.t.Helper()
	sum := r.sum()
	return sum.authentications[result]
}
