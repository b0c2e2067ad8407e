package gateway

import (
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestRefreshKeepsOwner: a newer token of a live device may be of no other user and no other tenant, whether auth.jwt_secret_file or a chain decides.
func TestRefreshKeepsOwner(t *testing.T) {
	t.Parallel()
	chained := func(*testing.T) func(c *Config) {
		return asksOf(AuthProvider{Type: "jwt", SecretFile: newAuthText(t, tokenSecret+"\n").path})
	}
	for name, asks := range map[string]func(t *testing.T) func(c *Config){"secret": withTokens, "chain": chained} {
		for _, tenants := range []string{"", "t", "acme"} { // "t": named by the token alone, as there are none
			t.Run(name+" "+tenants, func(t *testing.T) {
				t.Parallel()
				mods := []func(c *Config){memoryOnly, asks(t)}
				if tenants == "acme" {
					mods = append(mods, func(c *Config) {
						twoTenants(c)
						c.Listeners = []string{"mqtt://127.0.0.1:0", "ws://127.0.0.1:0", "any://127.0.0.1:0"}
					})
				}
				r := start(t, mods...)
				sign := func(user, tenant string) string {
					claims := jwt.MapClaims{"sub": "dev", "user": user, "exp": inSeconds(100)}
					if tenant != "" {
						claims["tenant"] = tenant
					}
					return token(t, claims)
				}
				j := r.opens(protocolJSON, "dev")
				j.connects(fmt.Sprintf(`"token":%q`, sign("anna", tenants)))
				id := "dev"
				if tenants == "acme" {
					id = "acme/dev"
				}
				was := r.whoIs(id)
				for n, bad := range []string{sign("zoe", tenants), sign("anna", "globex"), sign("x@globex", ""), sign("x@globex", tenants)} {
					j.says(fmt.Sprintf(`{"id":%d,"op":"refresh","token":%q}`, n+2, bad))
					j.fails(uint64(n+2), "unauthorized", false)
				}
				if w := r.whoIs(id); w.user != "anna" || w.tenant != was.tenant || w.of != was.of {
					t.Errorf("%+v", w)
				}
				j.says(fmt.Sprintf(`{"id":9,"op":"refresh","token":%q}`, sign("anna", tenants)))
				if a := j.next(); a["ok"] != true {
					t.Errorf("%v", a)
				}
			})
		}
	}
}

// TestTokenSessionOwner: the session of a plain device that has shown a token is not to be had by an MQTT device that has shown nothing.
func TestTokenSessionOwner(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, withTokens(t))
	j := r.opens(protocolJSON, "dev")
	shown := fmt.Sprintf(`"resume_s":60,"token":%q`, token(t, jwt.MapClaims{"sub": "dev", "user": "anna", "exp": inSeconds(100)}))
	j.connects(shown)
	attack := func() {
		t.Helper()
		r.turnedDown(r.open(mqtt.V5, r.mqtt), mqtt.NotAuthorized, "dev")
		r.turnedDown(r.open(mqtt.V5, r.mqtt), mqtt.NotAuthorized, "dev", persistent)
	}
	attack()
	j.asks(`{"id":2,"op":"ping"}`, `{"id":2,"ok":true}`)
	_ = j.c.CloseNow()
	r.eventually("it is away", func() bool { return r.sum().live[liveJSON] == 0 })
	attack()
	again := r.opens(protocolJSON, "dev")
	if a := again.connects(shown, fmt.Sprintf(`"session":%q`, j.session)); a["resumed"] != true {
		t.Errorf("%v", a)
	}
}

// TestNobodyPlain: where nobody comes in without credentials, a listener without a chain has none for plain devices, although others have.
func TestNobodyPlain(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, newCallback(t, nil).chained(t), func(c *Config) { c.Listeners[1] = "ws://127.0.0.1:0?auth=none" })
	ctx, cancel := patient()
	defer cancel()
	for _, protocols := range [][]string{{protocolJSON}, {protocolCBOR}, nil} {
		c := r.dialWS("/ws/dev", protocols...)
		if _, _, err := c.Read(ctx); websocket.CloseStatus(err) < 0 {
			t.Errorf("%v: %v", protocols, err)
		}
	}
	if sum := r.sum(); sum.connects != 0 || sum.authentications[authMissing] != 3 {
		t.Errorf("%d came in, %d were refused", sum.connects, sum.authentications[authMissing])
	}
}

// TestTLSCertificateEnds: a connection lasts no longer than the certificate that it has shown, whoever has let it in.
func TestTLSCertificateEnds(t *testing.T) {
	t.Parallel()
	for name, mod := range map[string]func(c *Config){
		"no chain": memoryOnly, "file": asksOf(AuthProvider{Type: "file", File: newAuthText(t, passwordsOf(t, "anna", "one")).path}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAuthority(t, t.TempDir(), "ca")
			r := start(t, a.secured(a.wants("optional")), mod)
			lamp, short := a.issue("lamp"), a.issue("pump", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(4 * time.Second) })
			login := withLogin("anna", "one")
			one, _ := r.connectOn(r.mustTLS(r.mqtt, a.client(showing(short))), "p", login, func(o *mqtt.ConnectOut) { o.KeepAliveSec = 0 })
			if w := r.whoIs("p"); w.expiresSec == 0 {
				t.Errorf("%+v", w)
			}
			long, _ := r.connectOn(r.mustTLS(r.mqtt, a.client(showing(lamp))), "l", login)
			one.endsWith(mqtt.NotAuthorized, 0)
			long.ping()
		})
	}
}

// TestTenantPlainDisagrees: a plain device whose listener and whose chain say different tenants is refused as an MQTT one is.
func TestTenantPlainDisagrees(t *testing.T) {
	t.Parallel()
	cb := newCallback(t, func(map[string]any) string { return `{"result":"allow","user":"anna","tenant":"globex"}` })
	r := start(t, memoryOnly, twoTenants, cb.chained(t), func(c *Config) { c.Loops = 4 })
	for i := range 4 { // at home and elsewhere
		id := fmt.Sprint("d", i)
		for _, protocol := range []string{protocolJSON, protocolCBOR} {
			j := r.opens(protocol, id)
			j.says(`{"id":1,"op":"connect","token":"t"}`)
			j.fails(1, "unauthorized", false)
			j.ends()
		}
		raw := r.dialWS("/ws/" + id)
		if _, _, err := raw.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
			t.Error(err)
		}
		r.turnedDown(r.opensAs("acme", mqtt.V5), mqtt.NotAuthorized, id, withLogin("anna", "x"))
	}
	if n := r.sum().connects; n != 0 {
		t.Errorf("%d came in", n)
	}
}
