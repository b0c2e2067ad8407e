package chain

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/auth"
)

// oracle is a provider whose answers wait for the test.
type oracle struct {
	asked atomic.Int64
	says  func(r *auth.Request) (auth.Answer, error)
}

func (o *oracle) Name() string { return "oracle" }

func (o *oracle) Authenticate(_ context.Context, r *auth.Request, _ int64) (auth.Answer, error) {
	o.asked.Add(1)
	return o.says(r)
}

var errAway = errors.New("away")

func allows(*auth.Request) (auth.Answer, error) { return auth.Answer{Verdict: auth.Allow}, nil }
func fails(*auth.Request) (auth.Answer, error)  { return auth.Answer{}, errAway }
func passes(*auth.Request) (auth.Answer, error) { return auth.Answer{}, nil }

func settings(mods ...func(s *Settings)) Settings {
	s := Settings{Workers: 4, WaitingMax: 100, Timeout: 20 * time.Second, CacheMax: 100, AllowTime: time.Hour, DenyTime: time.Hour, Remote: true}
	for _, mod := range mods {
		mod(&s)
	}
	return s
}

func request(name, password string) *auth.Request {
	return &auth.Request{
		ClientID: "c", Username: name, Password: []byte(password), HasUsername: true, HasPassword: true,
		Addr: netip.MustParseAddrPort("192.0.2.1:1000"),
	}
}

// hear asks and waits.
func hear(t *testing.T, c *Chain, r *auth.Request) auth.Answer {
	t.Helper()
	came := make(chan auth.Answer, 2)
	c.Ask(r, func(a auth.Answer) { came <- a })
	select {
	case a := <-came:
		return a
	case <-time.After(20 * time.Second):
		t.Fatal("no answer")
		return auth.Answer{}
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never happened: " + what)
		}
	}
}

// TestOrder: the first who knows decides, and who fails passes on only if it is meant to.
func TestOrder(t *testing.T) {
	t.Parallel()
	pass, allow, fail := &oracle{says: passes}, &oracle{says: allows}, &oracle{says: fails}
	for _, tc := range []struct {
		links []*Link
		want  auth.Answer
	}{
		{nil, auth.Answer{}},
		{[]*Link{NewLink(pass, settings())}, auth.Answer{}},
		{[]*Link{NewLink(pass, settings()), NewLink(allow, settings()), NewLink(fail, settings())}, auth.Answer{Verdict: auth.Allow}},
		{[]*Link{NewLink(fail, settings()), NewLink(allow, settings())}, auth.Answer{Verdict: auth.Deny, Refusal: auth.Unavailable}},
		{[]*Link{NewLink(fail, settings(func(s *Settings) { s.FailNext = true })), NewLink(allow, settings())}, auth.Answer{Verdict: auth.Allow}},
	} {
		if got := hear(t, New(NewThrottle(), tc.links...), request("anna", "x")); got.Verdict != tc.want.Verdict || got.Refusal != tc.want.Refusal {
			t.Errorf("got %+v, want %+v", got, tc.want)
		}
	}
}

// TestShared: who asks the same at the same time is answered by one question; whose password is another one is not.
func TestShared(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	o := &oracle{says: func(r *auth.Request) (auth.Answer, error) {
		<-hold
		if string(r.Password) == "right" {
			return auth.Answer{Verdict: auth.Allow}, nil
		}
		return auth.Answer{Verdict: auth.Deny}, nil
	}}
	l := NewLink(o, settings())
	c := New(NewThrottle(), l)
	var done sync.WaitGroup
	for i := range 20 {
		done.Add(1)
		password, want := "right", auth.Allow
		if i%2 == 1 {
			password, want = "wrong", auth.Deny
		}
		c.Ask(request("anna", password), func(a auth.Answer) {
			defer done.Done()
			if a.Verdict != want {
				t.Errorf("%s: got %v", password, a.Verdict)
			}
		})
	}
	close(hold)
	done.Wait()
	if n := o.asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
	if s := l.Stats(); s.Shared != 18 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

// TestGoneIsNotAsked: a question that nobody waits for is not put, and workers end when there are none.
func TestGoneIsNotAsked(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	o := &oracle{says: func(*auth.Request) (auth.Answer, error) { <-hold; return auth.Answer{Verdict: auth.Allow}, nil }}
	l := NewLink(o, settings(func(s *Settings) { s.Workers = 1 }))
	c := New(NewThrottle(), l)
	var done sync.WaitGroup
	for i := range 10 {
		done.Add(1)
		cancel := c.Ask(request(fmt.Sprint(i), "x"), func(auth.Answer) { done.Done() })
		if i > 0 {
			cancel()
		}
	}
	close(hold)
	done.Wait()
	if n := o.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	eventually(t, "the worker ends", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.running == 0 })
}

// TestCache: what may be remembered is, within bounds, and everything that was shown counts.
func TestCache(t *testing.T) {
	t.Parallel()
	now := time.Now().Unix()
	for name, tc := range map[string]struct {
		says  auth.Answer
		err   error
		again bool
	}{
		"allow":       {says: auth.Answer{Verdict: auth.Allow}},
		"deny":        {says: auth.Answer{Verdict: auth.Deny}},
		"pass":        {},
		"ends":        {says: auth.Answer{Verdict: auth.Allow, ExpiresSec: now + 1000}},
		"unavailable": {says: auth.Answer{Verdict: auth.Deny, Refusal: auth.Unavailable}, again: true},
		"fails":       {err: errAway, again: true},
	} {
		o := &oracle{says: func(*auth.Request) (auth.Answer, error) { return tc.says, tc.err }}
		l := NewLink(o, settings(func(s *Settings) { s.Remote = false }))
		c := New(NewThrottle(), l)
		hear(t, c, request("anna", "x"))
		hear(t, c, request("anna", "x"))
		if again := o.asked.Load() == 2; again != tc.again {
			t.Errorf("%s: asked %d times", name, o.asked.Load())
		}
		o.asked.Store(0)
		l.Forget()
		hear(t, c, request("anna", "x"))
		for _, change := range []func(r *auth.Request){
			func(r *auth.Request) { r.Password = []byte("y") }, func(r *auth.Request) { r.ClientID = "d" }, func(r *auth.Request) { r.HasPassword = false },
			func(r *auth.Request) { r.Addr = netip.MustParseAddrPort("192.0.2.2:1000") }, func(r *auth.Request) { r.Peer = &auth.Peer{CN: "x"} },
			func(r *auth.Request) { r.Username, r.Password = "ann", []byte("ax") },
		} {
			r := request("anna", "x")
			change(r)
			hear(t, c, r)
		}
		if n := o.asked.Load(); n != 7 {
			t.Errorf("%s: %d questions for seven devices", name, n)
		}
	}
	small := newCache(3)
	for i := range 100 {
		small.put(digest{byte(i)}, auth.Answer{}, time.Now(), time.Hour)
		small.put(digest{1, byte(i)}, auth.Answer{Verdict: auth.Allow}, time.Now(), time.Hour)
	}
	if len(small.kept[0]) != 3 || len(small.kept[1]) != 3 {
		t.Errorf("%d and %d answers in a cache for 3", len(small.kept[0]), len(small.kept[1]))
	}
}

// TestBreaker: a provider that is away is left alone, tried by one question at a time, and asked again once it answers.
func TestBreaker(t *testing.T) {
	t.Parallel()
	var b breaker
	now := time.Now()
	for range failuresMax {
		if !b.lets(now) {
			t.Fatal("open too early")
		}
		b.failed(now)
	}
	b.failed(now) // one that was under way
	for _, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		pause *= time.Second
		if b.lets(now.Add(pause - 1)) {
			t.Errorf("asked before %v", pause)
		}
		now = now.Add(pause)
		if !b.lets(now) || b.lets(now) {
			t.Errorf("not one question after %v", pause)
		}
		b.failed(now)
	}
	now = now.Add(pauseMax)
	b.lets(now)
	if b.unasked(); !b.lets(now) {
		t.Error("a try that came to nothing is the last")
	}
	b.worked()
	for range 2 { // not one try only
		if !b.lets(now) || b.open() {
			t.Error("still open")
		}
	}

	o := &oracle{says: fails}
	l := NewLink(o, settings())
	c := New(NewThrottle(), l)
	for i := range 20 {
		if a := hear(t, c, request(fmt.Sprint(i), "x")); a.Refusal != auth.Unavailable {
			t.Fatalf("got %+v", a)
		}
	}
	if s := l.Stats(); !s.Open || s.Spared < 10 || o.asked.Load() > 10 {
		t.Errorf("asked %d times: %+v", o.asked.Load(), s)
	}
}

// TestThrottle: guesses are slowed down by address and by name, a right password ends that, and nobody is kept out for long, or at all where they have
// logged in before.
func TestThrottle(t *testing.T) {
	t.Parallel()
	th, now := NewThrottle(), time.Now()
	from := func(addr, name string) *auth.Request {
		r := request(name, "x")
		r.Addr = netip.AddrPortFrom(netip.MustParseAddr(addr), 1)
		return r
	}
	th.Knew(from("192.0.2.9", "anna"), now)
	for i := range nameFree {
		if !th.Lets(from(fmt.Sprint("192.0.2.", i), "anna"), now) {
			t.Fatalf("refused after %d", i)
		}
		th.Guessed(from(fmt.Sprint("192.0.2.", i), "anna"), now)
	}
	if th.Lets(from("198.51.100.1", "anna"), now) || !th.Lets(from("192.0.2.9", "anna"), now) || !th.Lets(from("198.51.100.1", "bob"), now) {
		t.Error("the name does not count as it should")
	}
	for range 100 {
		th.Guessed(from("198.51.100.1", "anna"), now)
	}
	if !th.Lets(from("198.51.100.2", "anna"), now.Add(namePauseMax)) {
		t.Error("a name is refused for longer than namePauseMax")
	}
	if th.Lets(from("198.51.100.1", "zoe"), now.Add(addressPauseMax-1)) || !th.Lets(from("198.51.100.1", "zoe"), now.Add(addressPauseMax)) {
		t.Error("the address does not count as it should")
	}
	th.Knew(from("198.51.100.1", "zoe"), now)
	if !th.Lets(from("198.51.100.1", "zoe"), now) {
		t.Error("refused after the right password")
	}
	for i := range addressFree {
		th.Guessed(from(fmt.Sprint("2001:db8::", i+1), fmt.Sprint("n", i)), now)
	}
	if th.Lets(from("2001:db8::ffff", "new"), now) || !th.Lets(from("2001:db8:0:1::1", "new"), now) {
		t.Error("an IPv6 network is not one address")
	}
	if a, n := th.Throttled(); a != 2 || n != 1 {
		t.Errorf("counted %d and %d", a, n)
	}
}
