package auth

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tidegate/tidegate/gateway/auth/acl"
)

// jwtBytesMax is the longest token that is looked at.
const jwtBytesMax = 8 << 10

// jwtLeewaySec is how far ahead of ours the clock of whoever issues tokens may be, unless the options say otherwise.
const jwtLeewaySec = 10

// ErrJWT is why a token is not taken. What exactly is wrong is not told: it would help who guesses.
var ErrJWT = errors.New("auth: the token is missing, wrong or expired")

// errUnknownKey is ErrJWT for a token whose key id nobody has.
var errUnknownKey = errors.New("auth: the token names a key that is not known")

// anyClient is the ClientClaim with which a token is good for any client id.
const anyClient = "none"

// JWTOptions say what is expected of a token, and where it says what. Empty claims are those in parentheses.
type JWTOptions struct {
	Issuer   string // what iss must be, unless empty
	Audience string // what aud must have, unless empty
	// LeewaySec is how far ahead the clock may be of who issues tokens: for nbf, not for exp. 0: ten seconds.
	LeewaySec   int64
	ClientClaim string // the only client id that the token is for (sub); none: any will do
	UserClaim   string // who it is (user, or else sub)
	TenantClaim string // whose device it is (tenant)
}

// jwtChecker is how a token is read.
type jwtChecker struct {
	options JWTOptions
	parser  *jwt.Parser
	keys    *Keys
}

func newJWTChecker(keys *Keys, o JWTOptions) *jwtChecker {
	o.LeewaySec, o.ClientClaim, o.TenantClaim = cmp.Or(o.LeewaySec, jwtLeewaySec), cmp.Or(o.ClientClaim, "sub"), cmp.Or(o.TenantClaim, "tenant")
	return &jwtChecker{o, jwt.NewParser(jwt.WithStrictDecoding()), keys}
}

// Claims is what a good token says.
type Claims struct {
	ClientID   string // the only one that it is for; empty: any
	User       string
	Tenant     string
	ExpiresSec int64      // Unix time
	Rules      []acl.Rule // of the claim acl
}

// verify tells what is in a token that somebody signed whom we trust, and the mark of the key. ErrJWT, or errUnknownKey: nobody did.
func (j *jwtChecker) verify(text string) (jwt.MapClaims, Mark, error) {
	if len(text) > jwtBytesMax || strings.Count(text, ".") != 2 {
		return nil, Mark{}, ErrJWT
	}
	claims := jwt.MapClaims{}
	token, parts, err := j.parser.ParseUnverified(text, claims)
	if err != nil {
		return nil, Mark{}, ErrJWT
	}
	// What a token demands that we do not know of cannot be met (RFC 7515 §4.1.11).
	if _, demands := token.Header["crit"]; demands {
		return nil, Mark{}, ErrJWT
	}
	signature, err := j.parser.DecodeSegment(parts[2])
	if err != nil {
		return nil, Mark{}, ErrJWT
	}
	id, _ := token.Header["kid"].(string)
	keys, err := j.keys.find(token.Method.Alg(), id) // which has no algorithm for none
	if err != nil {
		return nil, Mark{}, err
	}
	signed := text[:len(parts[0])+1+len(parts[1])]
	for _, k := range keys {
		if token.Method.Verify(signed, signature, k.public) == nil {
			return claims, k.mark, nil
		}
	}
	return nil, Mark{}, ErrJWT
}

// judge tells what claims say, if they hold at nowSec and for us. ErrJWT: they do not, or cannot be understood.
func (j *jwtChecker) judge(claims jwt.MapClaims, nowSec int64) (Claims, error) {
	if !j.timely(claims, nowSec) || !j.ours(claims) {
		return Claims{}, ErrJWT
	}
	expires, _ := claims.GetExpirationTime()
	c := Claims{ExpiresSec: expires.Unix()}
	var err error
	if j.options.ClientClaim != anyClient {
		if c.ClientID, err = claimText(claims, j.options.ClientClaim); err != nil || c.ClientID == "" {
			return Claims{}, ErrJWT
		}
	}
	if c.User, err = j.user(claims); err != nil || c.User == "" {
		return Claims{}, ErrJWT
	}
	if c.Tenant, err = claimText(claims, j.options.TenantClaim); err != nil {
		return Claims{}, ErrJWT
	}
	if c.Rules, err = claimRules(claims["acl"]); err != nil {
		return Claims{}, ErrJWT
	}
	return c, nil
}

// timely tells whether a token is good at nowSec. One without exp never is.
func (j *jwtChecker) timely(claims jwt.MapClaims, nowSec int64) bool {
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil || expires.Unix() <= nowSec {
		return false
	}
	begins, err := claims.GetNotBefore()
	return err == nil && (begins == nil || begins.Unix() <= nowSec+j.options.LeewaySec)
}

// ours tells whether a token is from and for whom it should be.
func (j *jwtChecker) ours(claims jwt.MapClaims) bool {
	if want := j.options.Issuer; want != "" {
		if issuer, err := claims.GetIssuer(); err != nil || issuer != want {
			return false
		}
	}
	if want := j.options.Audience; want != "" {
		audience, err := claims.GetAudience()
		return err == nil && slices.Contains(audience, want)
	}
	return true
}

// user is who a token is of. Without a claim that was chosen for it, user may be missing, or be something else than text.
func (j *jwtChecker) user(claims jwt.MapClaims) (string, error) {
	if j.options.UserClaim != "" {
		return claimText(claims, j.options.UserClaim)
	}
	if user, err := claimText(claims, "user"); err == nil && user != "" {
		return user, nil
	}
	return claimText(claims, "sub")
}

// claimText is a claim of text, empty if there is none.
func claimText(claims jwt.MapClaims, name string) (string, error) {
	value, there := claims[name]
	if !there {
		return "", nil
	}
	text, ok := value.(string)
	if !ok || text == "" {
		return "", ErrJWT
	}
	return text, checkShown(text)
}
