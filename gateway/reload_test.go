package gateway

import (
	"fmt"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestReloadUsers: auth.scram_file is read again: who came in by a line that has changed is closed, and others stay.
func TestReloadUsers(t *testing.T) {
	t.Parallel()
	file := newAuthText(t, scramOf(t, [3]string{"anna", "pw of anna"}, [3]string{"zoe", "pw of zoe"}))
	r := start(t, memoryOnly, func(c *Config) { c.Auth.SCRAMFile = file.path })
	anna, zoe := r.logIn("a", "anna"), r.logIn("z", "zoe")
	file.put("noise\n")
	r.gw.Reload()
	anna.ping()
	file.put(scramOf(t, [3]string{"anna", "changed"}, [3]string{"zoe", "pw of zoe"}))
	r.gw.Reload()
	anna.endsWith(mqtt.AdministrativeAction, 0)
	zoe.ping()
	r.triesSCRAM(mqtt.NotAuthorized, "a", "anna", "pw of anna")
	if l := r.gw.doors.settings[0]; l.name != "auth.scram_file" || l.reloads[reloadFailed].Load() != 1 || l.reloads[reloadLoaded].Load() != 1 {
		t.Errorf("%s: %d failed, %d loaded", l.name, l.reloads[reloadFailed].Load(), l.reloads[reloadLoaded].Load())
	}
}

// TestReloadSecret: auth.jwt_secret_file is read again: tokens of the old secret count no more, nor do those who showed one.
func TestReloadSecret(t *testing.T) {
	t.Parallel()
	file := newAuthText(t, "another secret of more than thirty-two bytes\n")
	r := start(t, memoryOnly, func(c *Config) { c.Auth.JWTSecretFile = file.path })
	good := token(t, jwt.MapClaims{"sub": "dev", "exp": inSeconds(600)})
	early := r.opens(protocolJSON, "dev")
	early.says(fmt.Sprintf(`{"id":1,"op":"connect","token":%q}`, good))
	early.fails(1, "unauthorized", false)
	file.put(tokenSecret + "\n")
	r.gw.Reload()
	j := r.opens(protocolJSON, "dev")
	j.connects(fmt.Sprintf(`"token":%q`, good))
	file.put("another secret of more than thirty-two bytes\n")
	r.gw.Reload()
	if code, _ := j.ends(); code != 4110 {
		t.Errorf("closed with %d", code)
	}
}

// TestReloadKeySet: key sets are fetched at once, not only when it is time.
func TestReloadKeySet(t *testing.T) {
	t.Parallel()
	one, two := newTokenKey(t, "one"), newTokenKey(t, "two")
	keys := newKeyServer(t, one)
	r := start(t, asksOf(AuthProvider{Type: "jwt", URL: keys.URL}))
	r.eventually("keys are there", func() bool { return r.reloadsOf(0, reloadLoaded) == 1 })
	c := r.connect(mqtt.V5, "c1", withLogin("c1", one.token(t, "c1")))
	keys.has(two)
	r.gw.Reload()
	c.endsWith(mqtt.AdministrativeAction, 0) // its key has gone
	r.connect(mqtt.V5, "c1", withLogin("c1", two.token(t, "c1"))).ping()
}
