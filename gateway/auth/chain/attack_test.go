package chain

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/auth"
)

// TestThrottleNameless: who guesses without any name keeps out nobody but its own address.
func TestThrottleNameless(t *testing.T) {
	t.Parallel()
	throttle, now := NewThrottle(), time.Now()
	from := func(addr, id string) *auth.Request {
		r := requestFrom(addr)
		r.Username, r.HasUsername, r.ClientID = "", false, id
		return r
	}
	for range addressFree {
		throttle.Guessed(from("192.0.2.1", ""), now)
	}
	if throttle.Lets(from("192.0.2.1", ""), now) {
		t.Error("the address goes on")
	}
	if !throttle.Lets(from("192.0.2.3", ""), now) {
		t.Error("others without a name are kept out")
	}
	throttle.Knew(from("192.0.2.2", ""), now)
	for range nameFree {
		throttle.Guessed(from("192.0.2.4", "d"), now)
	}
	if throttle.Lets(from("192.0.2.5", "d"), now) {
		t.Error("a client id is no name")
	}
}

// TestJWKSHoldsNobody: while the key server does not answer, tokens that name a key which nobody has wait for it no longer than once, so that they do not take
// the workers from tokens that can be judged.
func TestJWKSHoldsNobody(t *testing.T) {
	t.Parallel()
	k := newKeyServer(t)
	good := k.add(t, "good")
	j := k.follow(t, time.Hour, 0)
	if v := verdict(t, j, good("a")); v != auth.Allow {
		t.Fatalf("got %v", v)
	}
	unknown := k.add(t, "unknown")
	k.away.Store(true)
	if v := verdict(t, j, unknown("a")); v != auth.Pass {
		t.Fatalf("got %v", v)
	}
	stuck := make(chan struct{})
	mute := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stuck:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(mute.Close)
	t.Cleanup(func() { close(stuck); j.stop() })
	j.mu.Lock()
	j.get.url = mute.URL
	j.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), jwksTimeout/2)
	defer cancel()
	for i := range 10 {
		if a, err := j.Authenticate(ctx, unknown(fmt.Sprint(i)), time.Now().Unix()); err != nil || a.Verdict != auth.Pass {
			t.Errorf("%+v %v", a, err)
		}
	}
	if ctx.Err() != nil {
		t.Error("they waited")
	}
}

// TestBreakerHeard: a callback that does answer, but with what is no answer, is there: whoever can have it answer so does not keep out the others.
func TestBreakerHeard(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status int
		text   string
		opens  bool
	}{
		"bad request": {http.StatusBadRequest, "", false}, "not found": {http.StatusNotFound, "", false}, "noise": {http.StatusOK, "noise", false},
		"wrong type":  {http.StatusOK, `{"result":["allow"]}`, false},
		"overwhelmed": {http.StatusTooManyRequests, "", true}, "broken": {http.StatusInternalServerError, "", true}, "redirect": {http.StatusFound, "", true},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tc.status)
			fmt.Fprint(w, tc.text)
		}))
		t.Cleanup(s.Close)
		h, err := NewHTTP(HTTPOptions{URL: s.URL, Connections: 2})
		if err != nil {
			t.Fatal(err)
		}
		l := NewLink(h, settings())
		c := New(NewThrottle(), l)
		for i := range 2 * failuresMax {
			if a := hear(t, c, request(fmt.Sprint(i), "x")); a.Verdict != auth.Deny || a.Refusal != auth.Unavailable {
				t.Fatalf("%s: %+v", name, a)
			}
		}
		if st := l.Stats(); st.Open != tc.opens {
			t.Errorf("%s: %+v", name, st)
		}
		h.Close()
	}
}

func requestFrom(addr string) *auth.Request {
	r := request("anna", "x")
	r.Addr = netip.AddrPortFrom(netip.MustParseAddr(addr), 1000)
	return r
}
