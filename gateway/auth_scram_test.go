package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/auth"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// scramOf is a users file; each user is a name, a password, and what stands behind the keys.
func scramOf(t *testing.T, users ...[3]string) string {
	t.Helper()
	text := "# users\n"
	for _, u := range users {
		line, err := auth.NewUser(u[0], u[1], []byte("sixteen bytes of"), auth.IterationsMin)
		if err != nil {
			t.Fatal(err)
		}
		text += strings.TrimSpace(line.String()+" "+u[2]) + "\n"
	}
	return text
}

// triesSCRAM is a login whose CONNACK is a refusal, in which nothing tells why a proof failed.
func (r *rig) triesSCRAM(why mqtt.Reason, id, user, password string, mods ...func(o *mqtt.ConnectOut)) {
	r.t.Helper()
	p, c := prover(r.t, user, password), r.open(mqtt.V5, r.mqtt)
	g := c.beginLogin(id, p, mods...)
	c.auth(mqtt.ContinueAuthentication, says(r.t, p, g.Props.AuthData))
	c.refused(why)
}

// TestAuthSCRAM: a row of a chain offers the method, whatever auth.scram_file has, and what it grants holds: user, tenant, and client id; the session is the
// user's. Other rows go on beside it.
func TestAuthSCRAM(t *testing.T) {
	t.Parallel()
	file := newAuthText(t, scramOf(t, [3]string{"anna", "pw of anna", "tenant=acme"}, [3]string{"bob", "pw of bob", "client=d:1"}, [3]string{"zoe", "pw of zoe"}))
	passwords := newAuthText(t, passwordsOf(t, "carl", "c"))
	r := start(t, withUsers(t, "old"), asksOf(AuthProvider{Type: "scram", File: file.path}, AuthProvider{Type: "file", File: passwords.path}))
	anna := r.logIn("a", "anna", persistent)
	if w := r.whoIs("a"); w.user != "anna" || w.tenant != "acme" {
		t.Errorf("%+v", w)
	}
	r.triesSCRAM(mqtt.NotAuthorized, "a", "zoe", "pw of zoe", persistent) // the session is anna's
	r.triesSCRAM(mqtt.NotAuthorized, "x", "old", "pw of old")             // of auth.scram_file
	anna.ping()

	r.triesSCRAM(mqtt.ClientIdentifierNotValid, "d2", "bob", "pw of bob")
	bob := r.logIn("d:1", "bob")
	for range 4 { // whichever loop accepts it, it goes home with the id that it is given
		c, ack := r.logInOn(r.open(mqtt.V5, r.mqtt), "", "bob")
		if id := string(ack.Props.AssignedClientID); id != "d:1" {
			t.Errorf("assigned %q", id)
		}
		bob.endsWith(mqtt.SessionTakenOver, 0)
		bob = c
		bob.ping()
	}
	p := prover(t, "bob", "pw of bob")
	bob.auth(mqtt.ReAuthenticate, says(t, p, nil))
	bob.auth(mqtt.ContinueAuthentication, says(t, p, bob.challenged().Props.AuthData))
	if g := bob.expect(mqtt.TypeAuth); g.Reason != mqtt.Success {
		t.Errorf("AUTH %v", g.Reason)
	}
	r.connect(mqtt.V5, "c", withLogin("carl", "c")).ping()
	r.turnedDown(r.open(mqtt.V5, r.mqtt), mqtt.BadUserNameOrPassword, "x", withLogin("zoe", "pw of zoe")) // a line of SCRAM is no password
	if st := r.gw.doors.links[0].Stats(); st.Answers[auth.Allow] != 9 || st.Answers[auth.Deny] != 1 {
		t.Errorf("%+v", st.Answers)
	}
}

// TestAuthSCRAMElsewhere: where the chain has no such row, the method is not offered, and scram_file counts only where there is no chain.
func TestAuthSCRAMElsewhere(t *testing.T) {
	t.Parallel()
	passwords := newAuthText(t, passwordsOf(t, "carl", "c"))
	r := start(t, withUsers(t, "old"), asksOf(AuthProvider{Type: "file", File: passwords.path}), func(c *Config) {
		c.Listeners = append(c.Listeners, "mqtt://127.0.0.1:0?auth=none")
	})
	c := r.open(mqtt.V5, r.mqtt)
	c.write(c.connectPacket("x", func(o *mqtt.ConnectOut) { o.AuthMethod = []byte(methodSCRAM) }))
	c.refused(mqtt.BadAuthenticationMethod)
	free, _ := r.logInOn(r.open(mqtt.V5, r.gw.Addrs().Listeners[len(r.gw.cfg.Listeners)-1].Addr.String()), "x", "old")
	free.ping()
}

// TestAuthSCRAMGuessing: wrong proofs are counted with wrong passwords, by name, and the right one is not even tried then; nobody else waits for it.
func TestAuthSCRAMGuessing(t *testing.T) {
	t.Parallel()
	file := newAuthText(t, scramOf(t, [3]string{"anna", "pw of anna"}, [3]string{"zoe", "pw of zoe"}))
	passwords := newAuthText(t, passwordsOf(t, "anna", "other"))
	r := start(t, asksOf(AuthProvider{Type: "scram", File: file.path}, AuthProvider{Type: "file", File: passwords.path}))
	for i := range 5 {
		r.triesSCRAM(mqtt.NotAuthorized, fmt.Sprint(i), "anna", "wrong")
		r.turnedDown(r.open(mqtt.V5, r.mqtt), mqtt.BadUserNameOrPassword, "c", withLogin("anna", "wrong"))
	}
	r.triesSCRAM(mqtt.Banned, "c", "anna", "pw of anna")
	r.closesBy(reasonGuessing, 0, 1)
	r.logIn("z", "zoe").ping()
}

// TestAuthSCRAMReload: who came in by a line that was changed or taken out is closed, and who is about to come in by it does not; others stay.
func TestAuthSCRAMReload(t *testing.T) {
	t.Parallel()
	both := scramOf(t, [3]string{"anna", "pw of anna"}, [3]string{"zoe", "pw of zoe"})
	file := newAuthText(t, both)
	r := start(t, asksOf(AuthProvider{Type: "scram", File: file.path}))
	anna, zoe := r.logIn("a", "anna"), r.logIn("z", "zoe")
	p, late := prover(t, "anna", "pw of anna"), r.open(mqtt.V5, r.mqtt)
	g := late.beginLogin("late", p)
	file.put(scramOf(t, [3]string{"anna", "changed"}, [3]string{"zoe", "pw of zoe"}))
	r.gw.Reload()
	anna.endsWith(mqtt.AdministrativeAction, 0)
	late.auth(mqtt.ContinueAuthentication, says(t, p, g.Props.AuthData))
	late.refused(mqtt.NotAuthorized)
	zoe.ping()
	r.triesSCRAM(mqtt.NotAuthorized, "a", "anna", "pw of anna")
	file.put("# none\n")
	r.gw.Reload()
	zoe.endsWith(mqtt.AdministrativeAction, 0)
	r.triesSCRAM(mqtt.NotAuthorized, "z", "zoe", "pw of zoe")
}
