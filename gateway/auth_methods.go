package gateway

import (
	"fmt"
	"os"
	"strings"

	"github.com/tidegate/tidegate/gateway/auth"
)

// anonymousNobody is the Auth.Anonymous with which every device has to authenticate.
const anonymousNobody = "nobody"

// methods are the authentication methods that a is set up for, by name.
func (a *Auth) methods() (map[string]auth.Method, error) {
	methods := map[string]auth.Method{}
	if a.SCRAMFile == "" {
		return methods, nil
	}
	text, err := os.ReadFile(a.SCRAMFile)
	if err != nil {
		return nil, fmt.Errorf("the users cannot be read: %w", err)
	}
	users, err := auth.ParseUsers(a.SCRAMFile, text)
	if err != nil {
		return nil, err
	}
	m := auth.NewSCRAM(users)
	methods[m.Name()] = m
	return methods, nil
}

func (c *Config) validateAuth(v *validator) {
	v.oneOf("auth.anonymous", c.Auth.Anonymous, "loopback", "anywhere", anonymousNobody)
	c.validateChains(v)
	if c.Auth.Anonymous == anonymousNobody && c.Auth.SCRAMFile == "" && c.Auth.JWTSecretFile == "" && len(c.Auth.Chains) == 0 {
		v.add("auth.anonymous", "nobody may connect without credentials, and there is no way to log in: no device could connect",
			"gateway scram NAME >> users.scram, and set auth.scram_file: users.scram, give plain WebSocket devices tokens, or set up auth.chains")
	}
	if _, err := c.Auth.methods(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			v.add("auth.scram_file", line, "gateway scram NAME >> FILE adds a user")
		}
	}
}

// authResult is how an attempt to authenticate ended, as a metric label.
type authResult uint8

const (
	authAccepted authResult = iota
	authRefused
	authUnknownMethod
	authMissing
	authResults
)

var authLabels = [authResults]string{"accepted", "refused", "unknown_method", "missing"}

func (e emitter) authentications(s *snapshot) {
	for i, n := range s.authentications {
		e.counter("gateway_authentications_total", float64(n), authLabels[i])
	}
}
