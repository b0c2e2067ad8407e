package auth

import (
	"context"
	"errors"
	"sync/atomic"
)

// JWT checks JSON Web Tokens, and is the provider that knows who shows one. Safe from any goroutine. A check takes some microseconds with a
// secret, so that a loop may do it; with public keys it takes up to a millisecond.
type JWT struct {
	checker    atomic.Pointer[jwtChecker]
	inUsername bool
}

// NewJWT checks with these keys. inUsername: MQTT devices have the token as User Name, not as Password.
func NewJWT(keys *Keys, o JWTOptions, inUsername bool) *JWT {
	j := &JWT{inUsername: inUsername}
	j.checker.Store(newJWTChecker(keys, o))
	return j
}

// SetKeys has it check with others from now on.
func (j *JWT) SetKeys(keys *Keys) { j.checker.Store(newJWTChecker(keys, j.checker.Load().options)) }

// Stands is part of Keeper: the key is still one of ours.
func (j *JWT) Stands(m Mark) bool { return j.checker.Load().keys.marks[m] }

// Name is part of Provider.
func (j *JWT) Name() string { return "jwt" }

// Authenticate is part of Provider.
func (j *JWT) Authenticate(_ context.Context, r *Request, nowSec int64) (Answer, error) {
	a, _ := j.Ask(r, nowSec)
	return a, nil
}

// Ask is Authenticate, and tells whether a key is missing that the token names: newer keys may have it. Who shows no token that somebody signed
// whom we trust is passed on. One that is signed well and does not hold is refused: that is no guess.
func (j *JWT) Ask(r *Request, nowSec int64) (a Answer, missing bool) {
	token, given := string(r.Password), r.HasPassword
	if j.inUsername && r.HasUsername {
		token, given = r.Username, true
	}
	if !given {
		return Answer{}, false
	}
	checker := j.checker.Load()
	claims, mark, err := checker.verify(token)
	if err != nil {
		return Answer{}, errors.Is(err, errUnknownKey)
	}
	c, err := checker.judge(claims, nowSec)
	if err != nil {
		return Answer{Verdict: Deny, Refusal: NotAuthorized}, false
	}
	return Answer{Verdict: Allow, User: c.User, Tenant: c.Tenant, ClientID: c.ClientID, ExpiresSec: c.ExpiresSec, Rules: c.Rules, Standing: Standing{j, mark}}, false
}
