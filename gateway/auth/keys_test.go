package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// signer is a private key with its names.
type signer struct {
	id, algorithm string
	private       crypto.Signer
}

// signers are one of each kind, made once.
var signers = sync.OnceValue(func() []signer {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		panic(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return []signer{{"r", "RS256", rsaKey}, {"r", "RS512", rsaKey}, {"r", "PS256", rsaKey}, {"e", "ES256", p256}, {"f", "ES384", p384}, {"d", "EdDSA", ed}}
})

// sign makes a token; without an id it names no key.
func (s signer) sign(t testing.TB, id string, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.GetSigningMethod(s.algorithm), claims)
	if id != "" {
		token.Header["kid"] = id
	}
	text, err := token.SignedString(s.private)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// web is the public key as a member of a JSON Web Key Set.
func (s signer) web() map[string]any {
	b64 := func(n *big.Int, size int) string {
		return base64.RawURLEncoding.EncodeToString(n.FillBytes(make([]byte, size)))
	}
	switch k := s.private.Public().(type) {
	case *rsa.PublicKey:
		return map[string]any{"kty": "RSA", "kid": s.id, "use": "sig", "n": b64(k.N, k.Size()), "e": "AQAB"}
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			panic(err)
		}
		half := len(point) / 2
		return map[string]any{"kty": "EC", "kid": s.id, "crv": k.Params().Name,
			"x": base64.RawURLEncoding.EncodeToString(point[1 : 1+half]), "y": base64.RawURLEncoding.EncodeToString(point[1+half:])}
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "kid": s.id, "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(k)}
	}
	panic("no such key")
}

func keySet(t testing.TB, keys ...map[string]any) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func pemOf(t testing.TB, public any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func claimsOf(sub string) jwt.MapClaims { return jwt.MapClaims{"sub": sub, "exp": 2000} }

// TestAlgorithms: a token of each kind of key is taken from a key set and from PEM, with its key's name and without, and none that another key has signed, or
// that says another algorithm than it is for.
func TestAlgorithms(t *testing.T) {
	var all []map[string]any
	for _, s := range signers() {
		all = append(all, s.web())
	}
	set, err := ParseKeys("set", keySet(t, all...))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range signers() {
		public := pemOf(t, s.private.Public())
		one, err := ParseKeys("pem", public)
		if err != nil {
			t.Fatal(err)
		}
		for name, keys := range map[string]*Keys{"set": set, "pem": one} {
			j := NewJWT(keys, JWTOptions{}, false)
			for _, id := range []string{"", s.id} {
				if c, err := j.check(s.sign(t, id, claimsOf("a")), 1000); err != nil || c.ClientID != "a" {
					t.Errorf("%s by %s, kid %q: %v", s.algorithm, name, id, err)
				}
			}
			// What is public must not be good for a secret.
			for _, secret := range []string{string(public), strings.TrimSpace(string(public)), fmt.Sprint(s.web()["x"]), fmt.Sprint(s.web()["n"])} {
				if _, err := j.check(handmade(hs256, `{"sub":"a","exp":2000}`, secret), 1000); !errors.Is(err, ErrJWT) {
					t.Errorf("%s: HS256 with the public key: %v", s.algorithm, err)
				}
			}
			good := s.sign(t, s.id, claimsOf("a"))
			for i := range good {
				bad := []byte(good)
				if bad[i] ^= 1; bad[i] == '.' {
					continue
				}
				if c, err := j.check(string(bad), 1000); err == nil {
					t.Fatalf("%s: byte %d changed: %+v", s.algorithm, i, c)
				}
			}
		}
		for _, other := range signers() {
			if other.id == s.id {
				continue
			}
			if _, err := NewJWT(one, JWTOptions{}, false).check(other.sign(t, "", claimsOf("a")), 1000); !errors.Is(err, ErrJWT) {
				t.Errorf("%s taken by the key of %s", other.algorithm, s.algorithm)
			}
			if _, err := NewJWT(set, JWTOptions{}, false).check(other.sign(t, s.id, claimsOf("a")), 1000); !errors.Is(err, ErrJWT) {
				t.Errorf("%s taken with the key id of %s", other.algorithm, s.algorithm)
			}
		}
	}
}

// TestParseJWKS: what is not for signatures is skipped, and nothing that could be used is not a set.
func TestParseJWKS(t *testing.T) {
	r, e, d := signers()[0].web(), signers()[3].web(), signers()[5].web()
	with := func(k map[string]any, name string, value any) map[string]any {
		changed := map[string]any{name: value}
		for key, old := range k {
			if key != name {
				changed[key] = old
			}
		}
		return changed
	}
	for name, tc := range map[string]struct {
		key  map[string]any
		good bool
	}{
		"rsa":             {r, true},
		"for it":          {with(r, "key_ops", []string{"verify"}), true},
		"one algorithm":   {with(r, "alg", "RS256"), true},
		"other algorithm": {with(r, "alg", "ES256"), false},
		"a secret's":      {with(r, "alg", "HS256"), false},
		"encryption":      {with(r, "use", "enc"), false},
		"signing":         {with(r, "key_ops", []string{"sign"}), false},
		"small":           {with(r, "n", base64.RawURLEncoding.EncodeToString(make([]byte, 128))), false},
		"huge":            {with(r, "n", strings.Repeat("_", 2000)), false},
		"exponent 1":      {with(r, "e", "AQ"), false},
		"exponent even":   {with(r, "e", "AQAC"), false},
		"long exponent":   {with(r, "e", "AQABAQABAQAB"), false},
		"secret":          {map[string]any{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}, false},
		"off the curve":   {with(e, "x", e["y"]), false},
		"short point":     {with(e, "x", "AAAA"), false},
		"P-521":           {with(e, "crv", "P-521"), false},
		"X25519":          {with(d, "crv", "X25519"), false},
		"short Ed25519":   {with(d, "x", "AAAA"), false},
		"no kind":         {with(d, "kty", 7), false},
	} {
		if _, err := ParseJWKS(keySet(t, tc.key)); (err == nil) != tc.good {
			t.Errorf("%s: %v", name, err)
		}
		k, err := ParseJWKS(keySet(t, tc.key, d))
		if err != nil || len(k.list) != map[bool]int{true: 2, false: 1}[tc.good] {
			t.Errorf("%s beside a good one: %v", name, err)
		}
	}
	many := make([]map[string]any, keysMax+1)
	for i := range many {
		many[i] = d
	}
	for name, text := range map[string]string{
		"nothing": "", "no set": "[]", "no keys": `{"keys":[]}`, "none": `{}`, "too many": string(keySet(t, many...)),
		"too long": `{"keys":[]}` + strings.Repeat(" ", JWKSBytesMax),
	} {
		if k, err := ParseJWKS([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, k)
		}
	}
}

// TestParseKeys: errors of a file of keys say what it is instead.
func TestParseKeys(t *testing.T) {
	ed := pemOf(t, signers()[5].private.Public())
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip("no small keys here:", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(signers()[5].private)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ text, say string }{
		"two":       {string(ed) + string(pemOf(t, signers()[0].private.Public())), ""},
		"empty":     {"", "keys: no public keys"},
		"noise":     {string(ed) + "more", "is not PEM"},
		"private":   {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), "block 1: a private key"},
		"other":     {string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: private})), "neither a public key"},
		"unread":    {string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})), "cannot be read"},
		"small RSA": {string(pemOf(t, small.Public())), "an RSA key of 1024 bits"},
		"too many":  {strings.Repeat(string(ed), triesMax+1), "9 keys"},
		"a set":     {"{}", "keys: none of the 0 keys"},
	} {
		_, err := ParseKeys("keys", []byte(tc.text))
		if (err == nil) != (tc.say == "") || err != nil && !strings.Contains(err.Error(), tc.say) {
			t.Errorf("%s: %v, want %q", name, err, tc.say)
		}
	}
}

// TestClaims: what a token says is taken as the options have it, and one that holds only partly does not hold.
func TestClaims(t *testing.T) {
	keys := secretKey(t, secretText)
	o := JWTOptions{Issuer: "https://id", Audience: "devices", ClientClaim: "cid", UserClaim: "name", TenantClaim: "org"}
	base := `"exp":2000,"iss":"https://id","aud":["x","devices"],"cid":"pump-7","name":"anna"`
	for name, tc := range map[string]struct {
		claims  string
		options JWTOptions
		verdict Verdict
	}{
		"all":                {base + `,"org":"acme","acl":[{"permission":"allow","action":"publish","topic":"a/#"}]`, o, Allow},
		"another issuer":     {strings.Replace(base, "https://id", "https://ip", 1), o, Deny},
		"no issuer":          {strings.Replace(base, `"iss"`, `"isx"`, 1), o, Deny},
		"another audience":   {strings.Replace(base, `"devices"`, `"apps"`, 1), o, Deny},
		"audience as text":   {strings.Replace(base, `["x","devices"]`, `"devices"`, 1), o, Allow},
		"no client":          {strings.Replace(base, `"cid"`, `"cix"`, 1), o, Deny},
		"any client":         {strings.Replace(base, `"cid"`, `"cix"`, 1), JWTOptions{ClientClaim: "none", UserClaim: "name"}, Allow},
		"no user":            {strings.Replace(base, `"name"`, `"nane"`, 1), o, Deny},
		"tenant is a number": {base + `,"org":7`, o, Deny},
		"empty tenant":       {base + `,"org":""`, o, Deny},
		"unprintable user":   {strings.Replace(base, "anna", `an\u0000na`, 1), o, Deny},
		"rule not known":     {base + `,"acl":[{"permission":"allow","action":"fly","topic":"a"}]`, o, Deny},
		"rule with a typo":   {base + `,"acl":[{"permission":"deny","action":"all","topics":"a","topic":"b"}]`, o, Deny},
		"rules are text":     {base + `,"acl":"all"`, o, Deny},
		"expired":            {strings.Replace(base, "2000", "1000", 1), o, Deny},
		"expiry is text":     {strings.Replace(base, "2000", `"2000"`, 1), o, Deny},
		"ends in ages":       {strings.Replace(base, "2000", "1e300", 1), o, Deny},
	} {
		j := NewJWT(keys, tc.options, true)
		a, missing := j.Ask(&Request{Username: handmade(hs256, "{"+tc.claims+"}", secretText), HasUsername: true}, 1000)
		if a.Verdict != tc.verdict || missing || a.Verdict == Deny && a.Refusal != NotAuthorized {
			t.Errorf("%s: %+v", name, a)
		}
		if name == "all" && (a.User != "anna" || a.Tenant != "acme" || a.ClientID != "pump-7" || a.ExpiresSec != 2000 || len(a.Rules) != 1 || a.Rules[0].Source != "jwt:1") {
			t.Errorf("%+v", a)
		}
	}
}

// TestTokensPassOn: who shows no token of ours is passed on, and one whose key is not known says so; who came in by a key leaves with it.
func TestTokensPassOn(t *testing.T) {
	s, other := signers()[3], signers()[5]
	keys := func(of ...map[string]any) *Keys {
		k, err := ParseJWKS(keySet(t, of...))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	j := NewJWT(keys(s.web()), JWTOptions{}, false)
	ask := func(password string, given bool) (Answer, bool) {
		return j.Ask(&Request{Password: []byte(password), HasPassword: given, Username: "x", HasUsername: true}, 1000)
	}
	for name, tc := range map[string]struct {
		password       string
		given, missing bool
	}{
		"none": {}, "a password": {"hunter2", true, false}, "unknown key": {other.sign(t, other.id, claimsOf("a")), true, true},
		"unknown key, no name": {other.sign(t, "", claimsOf("a")), true, false}, "alg none": {handmade(`{"alg":"none"}`, `{"sub":"a","exp":2000}`, ""), true, false},
	} {
		if a, missing := ask(tc.password, tc.given); a.Verdict != Pass || missing != tc.missing {
			t.Errorf("%s: %+v %v", name, a, missing)
		}
	}
	if a, missing := NewJWT(&Keys{}, JWTOptions{}, false).Ask(&Request{Password: []byte(s.sign(t, "", claimsOf("a"))), HasPassword: true}, 1000); a.Verdict != Pass || !missing {
		t.Errorf("without any key: %+v %v", a, missing)
	}
	a, err := j.Authenticate(context.Background(), &Request{Password: []byte(s.sign(t, s.id, claimsOf("a"))), HasPassword: true}, 1000)
	if err != nil || a.Verdict != Allow || !a.Standing.Holds() {
		t.Fatalf("%+v %v", a, err)
	}
	if again := keys(s.web()); !again.Same(keys(s.web())) || again.Same(keys(s.web(), other.web())) || again.Same(keys(other.web())) {
		t.Error("sets are not told apart")
	}
	if j.SetKeys(keys(other.web(), s.web())); !a.Standing.Holds() {
		t.Error("a new key takes an old one away")
	}
	if j.SetKeys(keys(other.web())); a.Standing.Holds() {
		t.Error("the key is gone, and who came in by it is not")
	}
}

// FuzzJWT: no token makes it panic, and none is taken without the secret.
func FuzzJWT(f *testing.F) {
	f.Add(handmade(hs256, `{"sub":"a","exp":2000}`, secretText), int64(1000))
	f.Add(handmade(hs256, `{"sub":"a","exp":2000,"aud":[1],"acl":[{}]}`, "other"), int64(1000))
	for _, s := range signers() {
		f.Add(s.sign(f, s.id, claimsOf("a")), int64(1000))
	}
	var all []map[string]any
	for _, s := range signers() {
		all = append(all, s.web())
	}
	set, err := ParseJWKS(keySet(f, all...))
	if err != nil {
		f.Fatal(err)
	}
	secret, public := NewJWT(secretKey(f, secretText), JWTOptions{}, false), NewJWT(set, JWTOptions{}, false)
	f.Fuzz(func(t *testing.T, token string, now int64) {
		for _, j := range []*JWT{secret, public} {
			c, err := j.check(token, now)
			if err != nil {
				continue
			}
			if c.ClientID == "" || c.User == "" || c.ExpiresSec <= now || checkShown(c.User) != nil || checkShown(c.ClientID) != nil {
				t.Fatalf("%q at %d: %+v", token, now, c)
			}
		}
	})
}

// FuzzKeys: no key file makes it panic, and each key that is taken can be used.
func FuzzKeys(f *testing.F) {
	for _, s := range signers() {
		f.Add(keySet(f, s.web()))
		f.Add(pemOf(f, s.private.Public()))
	}
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"","e":""},{"kty":"EC","crv":"P-256"},7]}`))
	tokens := map[string]string{}
	for _, s := range signers() {
		tokens[s.algorithm] = s.sign(f, "", claimsOf("a"))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := ParseKeys("keys", text)
		if err != nil {
			return
		}
		if len(k.list) == 0 || len(k.list) > keysMax {
			t.Fatal(fmt.Sprint(len(k.list), " keys"))
		}
		for _, token := range tokens {
			_, _ = NewJWT(k, JWTOptions{}, false).check(token, 1000)
		}
	})
}
