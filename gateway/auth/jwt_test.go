package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

const secretText = "0123456789abcdef0123456789abcdef"

// handmade is a token signed without the library.
func handmade(header, claims, secret string) string {
	b64 := base64.RawURLEncoding.EncodeToString
	text := b64([]byte(header)) + "." + b64([]byte(claims))
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(text))
	return text + "." + b64(h.Sum(nil))
}

func secretKey(t testing.TB, secret string) *Keys {
	t.Helper()
	keys, err := SecretKey([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

const hs256 = `{"alg":"HS256","typ":"JWT"}`

func TestJWT(t *testing.T) {
	j := NewJWT(secretKey(t, secretText+"\n"), JWTOptions{}, false)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rs256, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"sub": "a", "exp": 2000}).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	hs512, err := jwt.NewWithClaims(jwt.SigningMethodHS512, jwt.MapClaims{"sub": "a", "exp": 2000}).SignedString([]byte(secretText))
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	for name, tc := range map[string]struct {
		token string
		want  Claims
	}{
		"good":                  {handmade(hs256, `{"sub":"a","exp":2000,"nbf":900}`, secretText), Claims{ClientID: "a", User: "a", ExpiresSec: 2000}},
		"user":                  {handmade(hs256, `{"sub":"a","exp":1001,"user":"anna"}`, secretText), Claims{ClientID: "a", User: "anna", ExpiresSec: 1001}},
		"user is a number":      {handmade(hs256, `{"sub":"a","exp":1001,"user":7}`, secretText), Claims{ClientID: "a", User: "a", ExpiresSec: 1001}},
		"a clock ahead of ours": {handmade(hs256, `{"sub":"a","exp":2000,"nbf":1010}`, secretText), Claims{ClientID: "a", User: "a", ExpiresSec: 2000}},
		"not yet":               {token: handmade(hs256, `{"sub":"a","exp":2000,"nbf":1011}`, secretText)},
		"expired now":           {token: handmade(hs256, `{"sub":"a","exp":1000}`, secretText)},
		"no exp":                {token: handmade(hs256, `{"sub":"a"}`, secretText)},
		"exp is text":           {token: handmade(hs256, `{"sub":"a","exp":"2000"}`, secretText)},
		"no sub":                {token: handmade(hs256, `{"exp":2000}`, secretText)},
		"sub is a list":         {token: handmade(hs256, `{"sub":["a"],"exp":2000}`, secretText)},
		"nbf is text":           {token: handmade(hs256, `{"sub":"a","exp":2000,"nbf":"0"}`, secretText)},
		"another secret":        {token: handmade(hs256, `{"sub":"a","exp":2000}`, secretText+"x")},
		"none":                  {token: b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(`{"sub":"a","exp":2000}`)) + "."},
		"RS256":                 {token: rs256},
		"HS512":                 {token: hs512},
		"critical header":       {token: handmade(`{"alg":"HS256","crit":["b64"],"b64":false}`, `{"sub":"a","exp":2000}`, secretText)},
		"exp beyond numbers":    {token: handmade(hs256, `{"sub":"a","exp":1e300}`, secretText)},
		"nothing":               {token: ""},
		"noise":                 {token: "a.b.c"},
		"too long":              {token: handmade(hs256, `{"sub":"a","exp":2000,"x":"`+strings.Repeat("x", jwtBytesMax)+`"}`, secretText)},
	} {
		got, err := j.check(tc.token, 1000)
		if !reflect.DeepEqual(got, tc.want) || errors.Is(err, ErrJWT) != (tc.want.User == "") {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	if _, err := SecretKey([]byte("  " + secretText[1:] + "  ")); err == nil || !strings.Contains(err.Error(), "32") {
		t.Errorf("a short secret: %v", err)
	}
}

// check reads a token at nowSec, Unix time. ErrJWT: it is not to be trusted.
func (j *JWT) check(token string, nowSec int64) (Claims, error) {
	c := j.checker.Load()
	claims, _, err := c.verify(token)
	if err != nil {
		return Claims{}, ErrJWT
	}
	return c.judge(claims, nowSec)
}
