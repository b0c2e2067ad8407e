package chain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/tidegate/tidegate/gateway/auth"
)

// Bounds of fetching keys. A token whose key is not known has them fetched, but not again before jwksDistance has passed, whatever tokens say; until there
// are any, they are fetched that often.
const (
	jwksDistance = 10 * time.Second
	jwksTimeout  = 10 * time.Second
)

// JWKS lets in who shows a token that is signed by a key of a key server. It is safe from any goroutine.
type JWKS struct {
	tokens *auth.JWT
	get    getter
	every  time.Duration
	least  time.Duration // between fetches that tokens cause

	mu     sync.Mutex
	known  *auth.Keys
	caused time.Time // when a token last caused a fetch
	away   bool      // the last fetch failed
	flight *fetch
	told   func(changed bool, err error)
}

// fetch is one that is under way.
type fetch struct {
	ended  chan struct{}
	cancel func()
}

// JWKSOptions say whose tokens, and whose keys.
type JWKSOptions struct {
	URL        string        // of a JSON Web Key Set
	Every      time.Duration // how old keys may become
	Claims     auth.JWTOptions
	InUsername bool // MQTT devices have the token as User Name
}

// errNoKeys is why nobody can be told: the server has not been reached since the start.
var errNoKeys = errors.New("chain: there are no keys yet")

// NewJWKS looks at the URL only. Keys are fetched when Run runs, and when a token is shown.
func NewJWKS(o JWKSOptions) (*JWKS, error) {
	get, err := newGetter(o.URL)
	if err != nil {
		return nil, err
	}
	return &JWKS{tokens: auth.NewJWT(&auth.Keys{}, o.Claims, o.InUsername), get: get, every: o.Every, least: jwksDistance, told: func(bool, error) {}}, nil
}

// Run fetches keys until ctx ends. told hears of each fetch: whether there are other keys now, or why there are none or still the old ones; it is on any
// goroutine, and holds up who waits for the keys.
func (j *JWKS) Run(ctx context.Context, told func(changed bool, err error)) {
	j.mu.Lock()
	j.told = told
	j.mu.Unlock()
	defer j.stop()
	for ctx.Err() == nil {
		j.wait(ctx, j.fetch())
		j.mu.Lock()
		next := j.every
		if j.known == nil {
			next = min(next, jwksDistance)
		}
		j.mu.Unlock()
		select {
		case <-time.After(next):
		case <-ctx.Done():
		}
	}
}

// Refresh has the keys fetched now; Run's told hears what came of it. It does not wait.
func (j *JWKS) Refresh() { j.fetch() }

// Name is part of auth.Provider.
func (j *JWKS) Name() string { return "jwt" }

// Authenticate is part of auth.Provider.
func (j *JWKS) Authenticate(ctx context.Context, r *auth.Request, nowSec int64) (auth.Answer, error) {
	a, missing := j.tokens.Ask(r, nowSec)
	if !missing {
		return a, nil
	}
	if f := j.fetchFor(time.Now()); f != nil {
		j.wait(ctx, f)
	}
	// Also who did not wait asks again: the keys may have come since.
	if a, missing = j.tokens.Ask(r, nowSec); !missing {
		return a, nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.known == nil {
		return auth.Answer{}, errNoKeys
	}
	return a, nil
}

// fetchFor is a fetch that a token causes, or one that is under way; nil: it has to do without. While the server is away nobody waits for it who could do
// with the keys that there are: any token may name a key that nobody has, and those who show such would take all workers from the others.
func (j *JWKS) fetchFor(now time.Time) *fetch {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.flight == nil {
		if now.Sub(j.caused) < j.least {
			return nil
		}
		j.caused = now
	}
	f := j.begin()
	if j.away && j.known != nil {
		return nil
	}
	return f
}

// fetch begins one unless one is under way.
func (j *JWKS) fetch() *fetch {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.begin()
}

// begin is fetch with mu held.
func (j *JWKS) begin() *fetch {
	if j.flight == nil {
		ctx, cancel := context.WithTimeout(context.Background(), jwksTimeout) // not that of who waits for it
		j.flight = &fetch{make(chan struct{}), cancel}
		go j.run(ctx, j.flight)
	}
	return j.flight
}

func (j *JWKS) wait(ctx context.Context, f *fetch) {
	select {
	case <-f.ended:
	case <-ctx.Done():
	}
}

// stop ends the fetch that is under way; told has heard the last.
func (j *JWKS) stop() {
	j.mu.Lock()
	f := j.flight
	j.told = func(bool, error) {}
	j.mu.Unlock()
	if f != nil {
		f.cancel()
		<-f.ended
	}
}

// run is a fetch. Who gave up waiting for it has the keys the next time.
func (j *JWKS) run(ctx context.Context, f *fetch) {
	defer f.cancel()
	keys, err := j.load(ctx)
	j.mu.Lock()
	changed := err == nil && (j.known == nil || !j.known.Same(keys))
	if changed {
		j.known = keys
		j.tokens.SetKeys(keys)
	}
	j.flight, j.away = nil, err != nil
	told := j.told
	j.mu.Unlock()
	told(changed, err)
	close(f.ended)
}

func (j *JWKS) load(ctx context.Context) (*auth.Keys, error) {
	text, err := j.get.get(ctx, auth.JWKSBytesMax)
	if err != nil {
		return nil, err
	}
	return auth.ParseJWKS(text)
}

// getter reads what is at a URL.
type getter struct {
	url    string
	client *http.Client
}

func newGetter(text string) (getter, error) {
	if err := checkURL(text); err != nil {
		return getter{}, err
	}
	return getter{text, newClient(1)}, nil
}

// get is what is there, at most bytesMax of it.
func (g getter) get(ctx context.Context, bytesMax int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url, http.NoBody)
	if err != nil {
		return nil, errors.New("the key server cannot be asked")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := g.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the key server does not answer: %w", unwrapped(err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, bytesMax+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the key server breaks off: %w", unwrapped(err))
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the key server answers with status %d", res.StatusCode)
	}
	return body, nil
}
