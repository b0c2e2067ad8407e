package auth

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// JWTSecretBytesMin is the shortest secret: as long as what HS256 makes of it (RFC 7518 §3.2).
const JWTSecretBytesMin = 32

// jwtBytesMax is the longest token that is looked at.
const jwtBytesMax = 8 << 10

// jwtLeewaySec is how far ahead of ours the clock of whoever issues tokens may be.
const jwtLeewaySec = 10

// ErrJWT is why a token is not taken. What exactly is wrong is not told: it would help who guesses.
var ErrJWT = errors.New("auth: the token is missing, wrong or expired")

// JWT checks JSON Web Tokens that are signed with HS256 and one secret. Safe from any goroutine. A check hashes twice and takes some
// microseconds, so that a loop may do it.
type JWT struct {
	secret []byte
	parser *jwt.Parser
}

// NewJWT takes the secret, without white space around it. The error tells how long it must be.
func NewJWT(secret []byte) (*JWT, error) {
	secret = bytes.TrimSpace(secret)
	if len(secret) < JWTSecretBytesMin {
		return nil, fmt.Errorf("auth: the secret has %d bytes; make one of at least %d, such as with: openssl rand -hex 32", len(secret), JWTSecretBytesMin)
	}
	// Times are checked here, against the caller's clock.
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithoutClaimsValidation())
	return &JWT{secret: bytes.Clone(secret), parser: parser}, nil
}

// Claims is what a good token says.
type Claims struct {
	Subject    string // the client id
	User       string // "user", or else the subject
	ExpiresSec int64  // Unix time
}

// key is the secret, for a token that does not demand what we do not know of (RFC 7515 §4.1.11).
func (j *JWT) key(t *jwt.Token) (any, error) {
	if _, demands := t.Header["crit"]; demands {
		return nil, ErrJWT
	}
	return j.secret, nil
}

// Check reads a token at nowSec, Unix time. ErrJWT: it is not to be trusted.
func (j *JWT) Check(token string, nowSec int64) (Claims, error) {
	if len(token) > jwtBytesMax {
		return Claims{}, ErrJWT
	}
	claims := jwt.MapClaims{}
	if _, err := j.parser.ParseWithClaims(token, claims, j.key); err != nil {
		return Claims{}, ErrJWT
	}
	subject, err := claims.GetSubject()
	if err != nil || subject == "" {
		return Claims{}, ErrJWT
	}
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil || expires.Unix() <= nowSec {
		return Claims{}, ErrJWT
	}
	if notBefore, err := claims.GetNotBefore(); err != nil || notBefore != nil && notBefore.Unix() > nowSec+jwtLeewaySec {
		return Claims{}, ErrJWT
	}
	user, ok := claims["user"].(string)
	if !ok || user == "" {
		user = subject
	}
	return Claims{Subject: subject, User: user, ExpiresSec: expires.Unix()}, nil
}
