package gateway

import (
	"strings"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth"
)

// anonymousNobody is the Auth.Anonymous with which every device has to authenticate.
const anonymousNobody = "nobody"

// openUsers is the method SCRAM-SHA-256 for the users of a file, which setting names.
func openUsers(name, setting string) (m *auth.SCRAM, f *authFile, err error) {
	if f, err = newAuthFile(name, setting); err != nil {
		return nil, nil, err
	}
	f.load = func(text []byte) error {
		users, err := auth.ParseUsers(name, text)
		switch {
		case err != nil:
			return err
		case m == nil:
			m = auth.NewSCRAM(users)
		default:
			m.Set(users)
		}
		return nil
	}
	if _, err := f.read(); err != nil {
		return nil, nil, err
	}
	return m, f, nil
}

// openMethods makes ready the authentication methods of listeners without a chain.
func (g *Gateway) openMethods() error {
	g.methods = map[string]offer{}
	if g.cfg.Auth.SCRAMFile == "" {
		return nil
	}
	m, f, err := openUsers(g.cfg.Auth.SCRAMFile, "auth.scram_file")
	if err != nil {
		return err
	}
	g.doors.follow(f, m)
	g.methods[m.Name()] = offer{Method: m}
	return nil
}

// offer is an authentication method that devices may name at some listener.
type offer struct {
	auth.Method
	row *link // of a chain; nil: auth.scram_file
}

// methodOf is a method that the listener of a connection offers; false: it does not.
func (s *shard) methodOf(c *epoll.Conn, name []byte) (offer, bool) {
	methods := s.gw.methods
	if door := s.doorOf(c); door.chain != nil {
		methods = door.methods
	}
	o, ok := methods[string(name)]
	return o, ok
}

func (c *Config) validateAuth(v *validator) {
	v.oneOf("auth.anonymous", c.Auth.Anonymous, "loopback", "anywhere", anonymousNobody)
	c.validateChains(v)
	if c.Auth.Anonymous == anonymousNobody && c.Auth.SCRAMFile == "" && c.Auth.JWTSecretFile == "" && len(c.Auth.Chains) == 0 {
		v.add("auth.anonymous", "nobody may connect without credentials, and there is no way to log in: no device could connect",
			"gateway scram NAME >> users.scram, and set auth.scram_file: users.scram, give plain WebSocket devices tokens, or set up auth.chains")
	}
	if c.Auth.SCRAMFile == "" {
		return
	}
	if _, _, err := openUsers(c.Auth.SCRAMFile, "auth.scram_file"); err != nil {
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
