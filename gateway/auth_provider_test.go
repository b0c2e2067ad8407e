package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/golang-jwt/jwt/v5"

	"github.com/tidegate/tidegate/gateway/auth"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// authText is a file of a chain that a test changes.
type authText struct {
	t    *testing.T
	path string
}

func newAuthText(t *testing.T, text string) *authText {
	f := &authText{t, filepath.Join(t.TempDir(), "file")}
	f.put(text)
	return f
}

// put has the file hold another text, at once.
func (f *authText) put(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path+".new", []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(f.path+".new", f.path); err != nil {
		f.t.Fatal(err)
	}
}

// passwordsOf is a password file with users and passwords in turn.
func passwordsOf(t *testing.T, pairs ...string) string {
	t.Helper()
	text := "# users\n"
	for i := 0; i < len(pairs); i += 2 {
		line, err := auth.NewPassword(pairs[i], pairs[i+1], []byte("sixteen bytes of"), auth.HashCost{KiB: 8, Passes: 1})
		if err != nil {
			t.Fatal(err)
		}
		text += line + "\n"
	}
	return text
}

// asksOf has every listener go by these providers.
func asksOf(rows ...AuthProvider) func(c *Config) {
	return func(c *Config) {
		memoryOnly(c)
		c.Auth.Chain, c.Auth.Anonymous = "main", anonymousNobody
		for _, row := range rows {
			row.Chain = "main"
			c.Auth.Chains = append(c.Auth.Chains, row)
		}
	}
}

func (r *rig) reloadsOf(at int, result reloadResult) uint64 {
	return r.gw.doors.links[at].reloads[result].Load()
}

// loginPaho5 connects paho.golang; gone hears why the gateway ends it.
func (r *rig) loginPaho5(id, name, password string) (gone chan byte, err error) {
	r.t.Helper()
	gone = make(chan byte, 1)
	c := paho.NewClient(paho.ClientConfig{
		ClientID: id, Conn: r.dialReal(r.mqtt), PacketTimeout: patience,
		OnServerDisconnect: func(d *paho.Disconnect) { gone <- d.ReasonCode },
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ack, err := c.Connect(ctx, &paho.Connect{
		ClientID: id, CleanStart: true, KeepAlive: 30, Username: name, UsernameFlag: true, Password: []byte(password), PasswordFlag: true,
	})
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	if ack.ReasonCode != 0 {
		return nil, fmt.Errorf("CONNACK %#x", ack.ReasonCode)
	}
	return gone, nil
}

// revoked waits until the gateway has closed a client because of what has gone.
func (r *rig) revoked(gone chan byte) {
	r.t.Helper()
	select {
	case code := <-gone:
		if code != byte(mqtt.AdministrativeAction) {
			r.t.Errorf("closed with %#x", code)
		}
	case <-time.After(patience):
		r.t.Error("not closed")
	}
}

// TestAuthFile: users of a password file come in with paho clients; one whose line changes or goes has to log in again, by SIGHUP or as the gateway looks at
// the file, and others stay; what cannot be read leaves all as it is.
func TestAuthFile(t *testing.T) {
	t.Parallel()
	file := newAuthText(t, passwordsOf(t, "anna", "one", "bob", "b", "zoe", "z"))
	r := start(t, asksOf(AuthProvider{Type: "file", File: file.path}))
	anna, err := r.loginPaho5("c1", "anna", "one")
	if err != nil {
		t.Fatal(err)
	}
	bob, _ := r.connectOn(r.open(mqtt.V311, r.mqtt), "c2", withLogin("bob", "b"))
	zoe, _ := r.connectOn(r.openWS(mqtt.V5, "/mqtt", "mqtt"), "c3", withLogin("zoe", "z"))
	old := paho3.NewClient(paho3.NewClientOptions().AddBroker("tcp://" + r.mqtt).SetClientID("c4").SetUsername("bob").SetPassword("wrong").SetConnectRetry(false))
	if token := old.Connect(); !token.WaitTimeout(patience) || token.Error() == nil {
		t.Error("a wrong password is taken")
	}
	if _, err := r.loginPaho5("c1", "anna", "two"); err == nil || !strings.Contains(err.Error(), "user name or password") {
		t.Errorf("a wrong password: %v", err)
	}

	file.put("noise\n")
	r.gw.Reload()
	if n := r.reloadsOf(0, reloadFailed); n != 1 {
		t.Errorf("%d failed reloads", n)
	}
	bob.ping()
	r.connect(mqtt.V5, "c5", withLogin("anna", "one"))

	file.put(passwordsOf(t, "anna", "two", "bob", "b", "zoe", "z"))
	r.gw.Reload()
	r.revoked(anna)
	bob.ping()
	zoe.ping()
	r.turnedDown(r.open(mqtt.V5, r.mqtt), mqtt.BadUserNameOrPassword, "c1", withLogin("anna", "one")) // which was remembered
	if _, err := r.loginPaho5("c1", "anna", "two"); err != nil {
		t.Error(err)
	}

	file.put(passwordsOf(t, "anna", "two", "bob", "b"))
	zoe.endsWith(mqtt.AdministrativeAction, 1008) // the gateway has looked by itself
	bob.ping()
	r.turnedDown(r.open(mqtt.V5, r.mqtt), mqtt.BadUserNameOrPassword, "c3", withLogin("zoe", "z"))
	r.closesBy(reasonRevoked, 0, 3) // anna twice

	file.put("# none\n")
	r.gw.Reload()
	if _, err := bob.next(); err == nil {
		t.Error("bob stays when there are no users any more")
	}
	r.gw.Reload()
	if n := r.reloadsOf(0, reloadSame); n == 0 {
		t.Error("what has not changed was loaded")
	}
}

// gone is a Keeper with whom nothing stands any more.
type gone struct{}

func (gone) Stands(auth.Mark) bool { return false }

// TestAuthChangesMeanwhile: an answer that was true when it was given lets nobody in once what it rests on has gone, wherever the device is on its way.
func TestAuthChangesMeanwhile(t *testing.T) {
	t.Parallel()
	file := newAuthText(t, passwordsOf(t, "anna", "one"))
	r := start(t, asksOf(AuthProvider{Type: "file", File: file.path}))
	c := r.connect(mqtt.V5, "c1", withLogin("anna", "one"))
	told := make(chan refusal, 2)
	r.gw.home([]byte("c1")).do(func(s *shard) {
		conn := s.connOf(s.table.Get([]byte("c1")))
		d := s.devices.At(conn.Slot())
		d.known().inquiry = &inquiry{here: true}
		for _, standing := range []auth.Standing{{}, {By: gone{}}} {
			d.who().standing = standing
			refused, _ := s.inquired(conn, d, nil)
			told <- refused
		}
	})
	if a, b := <-told, <-told; a != refusedNot || b != refusedUnauthorized {
		t.Errorf("%v while it stands, and %v then", a, b)
	}
	c.ping()
	file.put(passwordsOf(t, "anna", "two"))
	r.gw.Reload()
	c.endsWith(mqtt.AdministrativeAction, 0)
}

// tokenKey signs tokens.
type tokenKey struct {
	id      string
	private ed25519.PrivateKey
}

func newTokenKey(t *testing.T, id string) tokenKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return tokenKey{id, private}
}

// token is one for a client, good for a thousand seconds unless claims say otherwise.
func (k tokenKey) token(t *testing.T, client string, claims ...func(c jwt.MapClaims)) string {
	t.Helper()
	c := jwt.MapClaims{"sub": client, "user": "u-" + client, "exp": time.Now().Unix() + 1000}
	for _, mod := range claims {
		mod(c)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, c)
	token.Header["kid"] = k.id
	text, err := token.SignedString(k.private)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func pemText(t *testing.T, public any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// TestAuthJWT: a token lets in its client alone, as its user, until it expires or its key goes, with MQTT and with commands.
func TestAuthJWT(t *testing.T) {
	t.Parallel()
	key, other := newTokenKey(t, ""), newTokenKey(t, "")
	file := newAuthText(t, pemText(t, key.private.Public()))
	r := start(t, asksOf(AuthProvider{Type: "jwt", File: file.path, Issuer: "https://id", TokenIn: "password"}))
	ours := func(c jwt.MapClaims) { c["iss"] = "https://id" }
	gone, err := r.loginPaho5("c1", "anything", key.token(t, "c1", ours, func(c jwt.MapClaims) { c["tenant"] = "acme" }))
	if err != nil {
		t.Fatal(err)
	}
	if w := r.whoIs("c1"); w.user != "u-c1" || w.tenant != "acme" || w.expiresSec == 0 {
		t.Errorf("%+v", w)
	}
	for _, tc := range []struct {
		id, token string
		why       mqtt.Reason
	}{
		{"c2", key.token(t, "c1", ours), mqtt.ClientIdentifierNotValid},
		{"c1", key.token(t, "c1"), mqtt.NotAuthorized},
		{"c1", key.token(t, "c1", ours, func(c jwt.MapClaims) { c["exp"] = time.Now().Unix() - 1 }), mqtt.NotAuthorized},
		{"c1", key.token(t, "c1", ours, func(c jwt.MapClaims) {
			c["acl"] = []map[string]any{{"permission": "allow", "action": "fly", "topic": "#"}}
		}), mqtt.NotAuthorized},
		{"c1", other.token(t, "c1", ours), mqtt.BadUserNameOrPassword},
		{"c1", "no token", mqtt.BadUserNameOrPassword},
	} {
		r.turnedDown(r.open(mqtt.V5, r.mqtt), tc.why, tc.id, withLogin("x", tc.token))
	}
	j := r.opens(protocolJSON, "c3")
	j.connects(`"token":"` + key.token(t, "c3", ours) + `"`)
	short := r.connect(mqtt.V5, "c4", withLogin("x", key.token(t, "c4", ours, func(c jwt.MapClaims) { c["exp"] = time.Now().Unix() + 2 })))
	short.endsWith(mqtt.NotAuthorized, 0)
	file.put(pemText(t, key.private.Public()) + pemText(t, other.private.Public()))
	r.gw.Reload()
	r.connect(mqtt.V5, "c5", withLogin("x", other.token(t, "c5", ours))).ping()
	j.asks(`{"op":"ping","id":3}`, `{"id":3,"ok":true}`)
	file.put(pemText(t, other.private.Public()))
	r.gw.Reload()
	r.revoked(gone)
	if code, _ := j.ends(); code != 4110 {
		t.Errorf("closed with %d", code)
	}
	r.closesBy(reasonRevoked, 0, 2)
}

// TestAuthJWTSecret: HS256 with a secret, in the User Name; rules come with it.
func TestAuthJWTSecret(t *testing.T) {
	t.Parallel()
	const secret = "a secret of thirty-two bytes, or more"
	file := newAuthText(t, secret+"\n")
	r := start(t, asksOf(AuthProvider{Type: "jwt", SecretFile: file.path, TokenIn: "username", ClientClaim: "none", UserClaim: "name"}))
	sign := func(claims jwt.MapClaims) string {
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	claims := jwt.MapClaims{"name": "anna", "exp": time.Now().Unix() + 1000, "acl": []map[string]any{{"permission": "allow", "action": "all", "topic": "#"}}}
	for _, id := range []string{"c1", "c2"} {
		r.connect(mqtt.V5, id, withLogin(sign(claims), "")).ping()
		if w := r.whoIs(id); w.user != "anna" {
			t.Errorf("%+v", w)
		}
	}
}

// keyServer is a real key server.
type keyServer struct {
	*httptest.Server
	asked atomic.Int64
	mu    sync.Mutex
	keys  []tokenKey // none: it is away
}

func newKeyServer(t *testing.T, keys ...tokenKey) *keyServer {
	k := &keyServer{keys: keys}
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		k.asked.Add(1)
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.keys) == 0 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // somebody else's, a new one each time
		if err != nil {
			t.Error(err)
			return
		}
		point, _ := ec.PublicKey.Bytes()
		b64 := base64.RawURLEncoding.EncodeToString
		list := []map[string]string{{"kty": "EC", "use": "enc", "kid": "e", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}}
		for _, key := range k.keys {
			list = append(list, map[string]string{"kty": "OKP", "crv": "Ed25519", "kid": key.id, "x": b64(key.private.Public().(ed25519.PublicKey))})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": list})
	}))
	t.Cleanup(k.Close)
	return k
}

func (k *keyServer) has(keys ...tokenKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = keys
}

// TestAuthKeyServer: keys rotate at a real key server. A token by a new key is taken at once, many by unknown ones have keys fetched once, while the
// server is away the old keys hold, and who came in by one that has gone is closed.
func TestAuthKeyServer(t *testing.T) {
	t.Parallel()
	first, second, nobodys := newTokenKey(t, "first"), newTokenKey(t, "second"), newTokenKey(t, "nobody's")
	k := newKeyServer(t, first)
	r := start(t, asksOf(AuthProvider{Type: "jwt", URL: k.URL + "/keys", Refresh: time.Hour}))
	gone, err := r.loginPaho5("c1", "x", first.token(t, "c1"))
	if err != nil {
		t.Fatal(err)
	}
	k.has(first, second)
	if _, err := r.loginPaho5("c2", "x", second.token(t, "c2")); err != nil {
		t.Fatal(err)
	}
	asked := k.asked.Load()
	for i := range 8 { // no more: they count as guesses
		id := fmt.Sprint("n", i)
		r.turnedDown(r.open(mqtt.V5, r.mqtt), mqtt.BadUserNameOrPassword, id, withLogin(id, nobodys.token(t, id)))
	}
	if n := k.asked.Load(); n != asked {
		t.Errorf("fetched %d times for unknown keys", n-asked)
	}
	k.has()
	l := r.gw.doors.links[0]
	r.connect(mqtt.V5, "c3", withLogin("x", first.token(t, "c3"))).ping()
	if len(gone) > 0 {
		t.Error("a new key closed who came in by the old one")
	}
	if n := l.reloads[reloadLoaded].Load(); n != 2 {
		t.Errorf("loaded %d times", n)
	}
}

// TestAuthKeyServerRefresh: keys are fetched again by themselves; the server may be away at the start, and then.
func TestAuthKeyServerRefresh(t *testing.T) {
	t.Parallel()
	first, second := newTokenKey(t, "first"), newTokenKey(t, "second")
	k := newKeyServer(t)
	r := start(t, asksOf(AuthProvider{Type: "jwt", URL: k.URL, Refresh: time.Second}))
	r.eventually("the first fetch fails", func() bool { return r.reloadsOf(0, reloadFailed) > 0 })
	r.turnedDown(r.open(mqtt.V5, r.mqtt), mqtt.ServerUnavailable, "c1", withLogin("x", first.token(t, "c1")))
	k.has(first)
	r.eventually("keys are there", func() bool { return r.reloadsOf(0, reloadLoaded) == 1 })
	c := r.connect(mqtt.V5, "c1", withLogin("x", first.token(t, "c1")))
	k.has()
	failed := r.reloadsOf(0, reloadFailed)
	r.eventually("the server is away", func() bool { return r.reloadsOf(0, reloadFailed) > failed })
	c.ping()
	k.has(second)
	c.endsWith(mqtt.AdministrativeAction, 0)
}

// TestAuthCertificate: devices are known by their certificates, whose list is read again; who shows none has another way in.
func TestAuthCertificate(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, t.TempDir(), "ca")
	pump, lamp := a.issue("pump-7"), a.issue("lamp-1")
	print := func(c tls.Certificate) string {
		return fmt.Sprintf("%x %s\n", sha256.Sum256(c.Certificate[0]), c.Leaf.Subject.CommonName)
	}
	listed := newAuthText(t, print(pump)+print(lamp))
	users := newAuthText(t, passwordsOf(t, "anna", "one"))
	r := start(t, a.secured(a.wants("optional")), asksOf(AuthProvider{Type: "certificate", File: listed.path}, AuthProvider{Type: "file", File: users.path}))
	for _, addr := range []string{r.mqtt, r.any} {
		one, _ := r.connectOn(r.mustTLS(addr, a.client(showing(pump))), "p")
		two, _ := r.connectOn(r.mustTLS(addr, a.client(showing(lamp))), "l", withLogin("lamp-1", ""))
		if w := r.whoIs("p"); w.user != "pump-7" || w.expiresSec == 0 {
			t.Errorf("%+v", w)
		}
		anna, _ := r.connectOn(r.mustTLS(addr, a.client()), "a", withLogin("anna", "one"))
		r.turnedDown(r.mustTLS(addr, a.client()), mqtt.BadUserNameOrPassword, "x")
		r.turnedDown(r.mustTLS(addr, a.client(showing(a.issue("other")))), mqtt.NotAuthorized, "x", withLogin("anna", "one"))
		r.turnedDown(r.mustTLS(addr, a.client(showing(pump))), mqtt.NotAuthorized, "x", withLogin("lamp-1", ""))
		listed.put(print(lamp))
		r.gw.Reload()
		one.endsWith(mqtt.AdministrativeAction, 0)
		two.ping()
		anna.ping()
		r.turnedDown(r.mustTLS(addr, a.client(showing(pump))), mqtt.NotAuthorized, "p")
		listed.put(print(pump) + print(lamp))
		r.gw.Reload()
	}
}

// TestAuthRows: what is wrong with a row is said before anybody is let in by it.
func TestAuthRows(t *testing.T) {
	t.Parallel()
	users := newAuthText(t, passwordsOf(t, "anna", "one"))
	noise := newAuthText(t, "bob:S3cret\nzoe:S3cret\n")
	short := newAuthText(t, "S3cret")
	for _, tc := range []struct {
		row AuthProvider
		say string
	}{
		{AuthProvider{Type: "file", File: users.path}, ""},
		{AuthProvider{Type: "certificate"}, ""},
		{AuthProvider{Type: "file"}, "needs the name of a file"},
		{AuthProvider{Type: "file", File: users.path + "x"}, "no such file"},
		{AuthProvider{Type: "file", File: noise.path}, ":2: not of the form"},
		{AuthProvider{Type: "file", File: users.path, URL: "http://x/"}, "url: not a setting of type file"},
		{AuthProvider{Type: "nats", Issuer: "x"}, "issuer: not a setting of type nats"},
		{AuthProvider{Type: "jwt"}, "one of url, file and secret_file"},
		{AuthProvider{Type: "jwt", File: users.path, SecretFile: short.path}, "one of url, file and secret_file"},
		{AuthProvider{Type: "jwt", File: users.path}, "is not PEM"},
		{AuthProvider{Type: "jwt", SecretFile: short.path}, "the secret has 6 bytes"},
		{AuthProvider{Type: "jwt", URL: "https://anna:S3cret@x/"}, "a password does not belong into the URL"},
		{AuthProvider{Type: "jwt", URL: "https://x/", Refresh: time.Millisecond}, "refresh: 1ms"},
		{AuthProvider{Type: "jwt", SecretFile: short.path, Refresh: time.Hour}, "refresh: there is no url"},
		{AuthProvider{Type: "jwt", URL: "https://x/", TokenIn: "topic"}, "token_in"},
		{AuthProvider{Type: "certificate", Identity: "face"}, "none of cn, san, fingerprint"},
		{AuthProvider{Type: "certificate", File: noise.path}, ":1: not in hex"},
		{AuthProvider{Type: "ldap"}, "none of file, scram, jwt"},
	} {
		c := Default()
		asksOf(tc.row)(&c)
		text := ""
		for _, e := range c.Validate() {
			text += e.Error() + "\n"
		}
		if (text == "") != (tc.say == "") || !strings.Contains(text, tc.say) || strings.Contains(text, "S3cret") {
			t.Errorf("%+v: %q, want %q", tc.row, text, tc.say)
		}
	}
}
