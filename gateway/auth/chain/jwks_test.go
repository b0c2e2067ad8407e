package chain

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tidegate/tidegate/gateway/auth"
)

// keyServer is a real key server whose keys can be changed.
type keyServer struct {
	*httptest.Server
	asked  atomic.Int64
	away   atomic.Bool
	mu     sync.Mutex
	public map[string]*ecdsa.PublicKey
}

func newKeyServer(t *testing.T) *keyServer {
	k := &keyServer{public: map[string]*ecdsa.PublicKey{}}
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		k.asked.Add(1)
		if k.away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		list := []map[string]string{}
		for id, public := range k.public {
			point, err := public.Bytes()
			if err != nil {
				t.Error(err)
			}
			b64 := base64.RawURLEncoding.EncodeToString
			list = append(list, map[string]string{"kty": "EC", "crv": "P-256", "kid": id, "x": b64(point[1:33]), "y": b64(point[33:])})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": list})
	}))
	t.Cleanup(k.Close)
	return k
}

// add makes a key; the func signs tokens by it.
func (k *keyServer) add(t *testing.T, id string) (token func(client string) *auth.Request) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k.mu.Lock()
	k.public[id] = &private.PublicKey
	k.mu.Unlock()
	return func(client string) *auth.Request {
		t.Helper()
		token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": client, "exp": time.Now().Unix() + 1000})
		token.Header["kid"] = id
		text, err := token.SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		return request("x", text)
	}
}

func (k *keyServer) remove(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.public, id)
}

func (k *keyServer) follow(t *testing.T, every, least time.Duration) *JWKS {
	t.Helper()
	j, err := NewJWKS(JWKSOptions{URL: k.URL + "/keys", Every: every})
	if err != nil {
		t.Fatal(err)
	}
	j.least = least
	return j
}

func verdict(t *testing.T, j *JWKS, r *auth.Request) auth.Verdict {
	t.Helper()
	a, err := j.Authenticate(t.Context(), r, time.Now().Unix())
	if err != nil {
		t.Fatal(err)
	}
	return a.Verdict
}

// TestJWKSUnknownKey: a token with a key that is not known has keys fetched once for all who wait, and not again before the distance has passed.
func TestJWKSUnknownKey(t *testing.T) {
	t.Parallel()
	k := newKeyServer(t)
	first := k.add(t, "first")
	j := k.follow(t, time.Hour, time.Hour)
	token := first("a")
	var done sync.WaitGroup
	for range 1000 {
		done.Go(func() {
			if a, err := j.Authenticate(t.Context(), token, time.Now().Unix()); err != nil || a.Verdict != auth.Allow {
				t.Errorf("%+v %v", a, err)
			}
		})
	}
	done.Wait()
	second := k.add(t, "second")
	for range 50 {
		if v := verdict(t, j, second("a")); v != auth.Pass {
			t.Fatalf("got %v", v)
		}
	}
	if n := k.asked.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
	j.least = 0
	if v := verdict(t, j, second("a")); v != auth.Allow {
		t.Errorf("after the distance: %v", v)
	}
	if v := verdict(t, j, request("x", "no token")); v != auth.Pass || k.asked.Load() != 2 {
		t.Errorf("a password: %v, fetched %d times", v, k.asked.Load())
	}
}

// TestJWKSAway: while the server is away the old keys hold; before it was ever there nobody can be told anything.
func TestJWKSAway(t *testing.T) {
	t.Parallel()
	k := newKeyServer(t)
	k.away.Store(true)
	token := k.add(t, "k")
	j := k.follow(t, time.Hour, 0)
	if a, err := j.Authenticate(t.Context(), token("a"), time.Now().Unix()); err == nil {
		t.Errorf("got %+v", a)
	}
	k.away.Store(false)
	if v := verdict(t, j, token("a")); v != auth.Allow {
		t.Errorf("back again: %v", v)
	}
	k.away.Store(true)
	unknown := k.add(t, "unknown")
	if v := verdict(t, j, unknown("a")); v != auth.Pass {
		t.Errorf("unknown: %v", v)
	}
	if v := verdict(t, j, token("a")); v != auth.Allow {
		t.Errorf("away again: %v", v)
	}
}

// TestJWKSRefresh: keys come and go by themselves, each change is told once, and who came in by a key that has gone is told apart.
func TestJWKSRefresh(t *testing.T) {
	t.Parallel()
	k := newKeyServer(t)
	old := k.add(t, "old")
	j := k.follow(t, 10*time.Millisecond, time.Hour)
	var changes atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		j.Run(ctx, func(changed bool, _ error) {
			if changed {
				changes.Add(1)
			}
		})
	}()
	eventually(t, "the first keys", func() bool { return changes.Load() == 1 })
	a, err := j.Authenticate(t.Context(), old("a"), time.Now().Unix())
	if err != nil || a.Verdict != auth.Allow {
		t.Fatalf("%+v %v", a, err)
	}
	k.add(t, "new")
	eventually(t, "the second key", func() bool { return changes.Load() == 2 })
	if !a.Standing.Holds() {
		t.Error("a new key takes the old one away")
	}
	k.remove("old")
	eventually(t, "the old key goes", func() bool { return changes.Load() == 3 && !a.Standing.Holds() })
	k.remove("new")
	fetched := k.asked.Load()
	eventually(t, "an empty set", func() bool { return k.asked.Load() > fetched+2 })
	if changes.Load() != 3 {
		t.Error("a set without keys was taken")
	}
	cancel()
	<-ended
}

// TestJWKSBounded: a server that never stops, redirects, or answers nonsense is heard no further.
func TestJWKSBounded(t *testing.T) {
	t.Parallel()
	var path atomic.Pointer[string]
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		case "/redirect":
			http.Redirect(w, r, "/keys", http.StatusFound)
		}
		p := r.URL.Path
		path.Store(&p)
	}))
	t.Cleanup(s.Close)
	for _, at := range []string{"/long", "/redirect", "/nothing"} {
		j, err := NewJWKS(JWKSOptions{URL: s.URL + at, Every: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := j.load(t.Context()); err == nil {
			t.Errorf("%s: taken", at)
		}
	}
	if p := path.Load(); p != nil && *p == "/keys" {
		t.Error("a redirect was followed")
	}
	for _, url := range []string{"", "ftp://x/y", "http://", "https://user:secret@x/keys"} {
		if _, err := NewJWKS(JWKSOptions{URL: url}); err == nil {
			t.Errorf("%q taken", url)
		}
	}
}
