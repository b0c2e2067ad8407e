package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/gateway/auth"
	"github.com/tidegate/tidegate/gateway/auth/chain"
)

// AuthProvider is one of a chain. Which settings it needs depends on its type.
type AuthProvider struct {
	Chain       string        `yaml:"chain" doc:"name of the chain that it belongs to"`
	Type        string        `yaml:"type" doc:"file (names and passwords), scram (users of the method SCRAM-SHA-256), jwt (signed tokens), certificate (of TLS), http or nats (a service of yours is asked)"`
	File        string        `yaml:"file" doc:"file: users, as gateway passwd writes them; scram: users, as gateway scram prints them; jwt: public keys, PEM or a JSON Web Key Set; certificate: SHA-256 fingerprints of those that are let in, default: all that TLS verified"`
	URL         string        `yaml:"url" doc:"http: where questions are posted; jwt: where the JSON Web Key Set is; https://HOST/PATH"`
	SecretFile  string        `yaml:"secret_file" doc:"http: file with what stands in the Authorization header, such as Bearer TOKEN; jwt: file with the secret of HS256 tokens"`
	Refresh     time.Duration `yaml:"refresh" doc:"jwt with url: how often keys are fetched; default: 10m"`
	Issuer      string        `yaml:"issuer" doc:"jwt: what iss must be; default: anything"`
	Audience    string        `yaml:"audience" doc:"jwt: what must be in aud; default: anything"`
	ClientClaim string        `yaml:"client_claim" doc:"jwt: claim with the only client id that the token is for, or none: any; default: sub"`
	UserClaim   string        `yaml:"user_claim" doc:"jwt: claim with the user; default: user, or else sub"`
	TenantClaim string        `yaml:"tenant_claim" doc:"jwt: claim with the tenant; default: tenant"`
	TokenIn     string        `yaml:"token_in" doc:"jwt: where MQTT devices have the token: password or username; default: password"`
	Identity    string        `yaml:"identity" doc:"certificate: what of it is the user: cn, san or fingerprint; default: what tls.identity says"`
	Subject     string        `yaml:"subject" doc:"nats: subject of requests; default: $TG.auth.connect"`
	Timeout     time.Duration `yaml:"timeout" doc:"auth.timeout of this one"`
	Fail        string        `yaml:"fail" doc:"when it cannot tell: deny (nobody gets in, as without it) or next (the next one is asked)"`
}

// foreign is a setting that means nothing for the type; empty: there is none.
func (p *AuthProvider) foreign() string {
	for _, s := range []struct {
		name  string
		given bool
		types string
	}{
		{"file", p.File != "", "file scram jwt certificate"}, {"url", p.URL != "", "http jwt"}, {"secret_file", p.SecretFile != "", "http jwt"}, {"refresh", p.Refresh != 0, "jwt"},
		{"issuer", p.Issuer != "", "jwt"}, {"audience", p.Audience != "", "jwt"}, {"client_claim", p.ClientClaim != "", "jwt"}, {"user_claim", p.UserClaim != "", "jwt"},
		{"tenant_claim", p.TenantClaim != "", "jwt"}, {"token_in", p.TokenIn != "", "jwt"}, {"identity", p.Identity != "", "certificate"}, {"subject", p.Subject != "", "nats"},
	} {
		if s.given && !slices.Contains(strings.Fields(s.types), p.Type) {
			return s.name
		}
	}
	return ""
}

// opened is a provider with what has to be looked after.
type opened struct {
	auth.Provider
	remote bool        // it asks somebody else
	costly bool        // each answer takes a core for some milliseconds, and much memory
	method auth.Method // nil: it is asked; else it is offered to devices that name it
	file   *authFile   // nil: it has none that may change
	keys   *chain.JWKS // nil: it follows no key server
}

// open makes the provider. It asks nobody yet. request is how NATS is asked. An error may have several lines.
func (p *AuthProvider) open(a *Auth, request chain.RequestFunc) (opened, error) {
	if setting := p.foreign(); setting != "" && slices.Contains([]string{"file", "scram", "jwt", "certificate", "http", "nats"}, p.Type) {
		return opened{}, fmt.Errorf("%s: not a setting of type %s", setting, p.Type)
	}
	switch p.Type {
	case "file":
		return p.openPasswords()
	case "scram":
		return p.openSCRAM()
	case "jwt":
		return p.openJWT()
	case "certificate":
		return p.openCertificates()
	case "http":
		return p.openHTTP(a)
	case "nats":
		subject := cmp.Or(p.Subject, authSubject)
		if !bus.Reserved([]byte(subject)) || strings.ContainsAny(subject, " \t\r\n*>") || strings.Contains("."+subject+".", "..") {
			return opened{}, fmt.Errorf("subject: %q is none that is out of reach for devices, which could answer on any other; it begins with $, as %s does", subject, authSubject)
		}
		return opened{Provider: chain.NewNATS(subject, request), remote: true}, nil
	}
	return opened{}, fmt.Errorf("type: %q is none of file, scram, jwt, certificate, http, nats", p.Type)
}

func (p *AuthProvider) openHTTP(a *Auth) (opened, error) {
	o := chain.HTTPOptions{URL: p.URL, Connections: a.Workers}
	if p.SecretFile != "" {
		if _, err := readSecret(p.SecretFile); err != nil {
			return opened{}, err
		}
		o.Secret = func() (string, error) { return readSecret(p.SecretFile) }
	}
	h, err := chain.NewHTTP(o)
	if err != nil {
		return opened{}, fmt.Errorf("url: %w", err)
	}
	return opened{Provider: h, remote: true}, nil
}

func (p *AuthProvider) openPasswords() (opened, error) {
	f, err := newAuthFile(p.File, "file")
	if err != nil {
		return opened{}, err
	}
	var users *auth.PasswordFile
	f.load = func(text []byte) error {
		passwords, err := auth.ParsePasswords(p.File, text)
		switch {
		case err != nil:
			return err
		case users == nil:
			users = auth.NewPasswordFile(passwords)
		default:
			users.Set(passwords)
		}
		return nil
	}
	if _, err := f.read(); err != nil {
		return opened{}, err
	}
	return opened{Provider: users, costly: true, file: f}, nil
}

func (p *AuthProvider) openSCRAM() (opened, error) {
	m, f, err := openUsers(p.File, "file")
	if err != nil {
		return opened{}, err
	}
	return opened{Provider: m, method: m, file: f}, nil
}

func (p *AuthProvider) openCertificates() (opened, error) {
	by, known := map[string]auth.Identity{"": auth.ByTLS, "cn": auth.ByCN, "san": auth.BySAN, "fingerprint": auth.ByFingerprint}[p.Identity]
	if !known {
		return opened{}, fmt.Errorf("identity: %q is none of cn, san, fingerprint", p.Identity)
	}
	certificates := auth.NewCertificates(by, nil)
	if p.File == "" {
		return opened{Provider: certificates}, nil
	}
	f, err := newAuthFile(p.File, "file")
	if err != nil {
		return opened{}, err
	}
	f.load = func(text []byte) error {
		listed, err := auth.ParseFingerprints(p.File, text)
		if err == nil {
			certificates.Set(listed)
		}
		return err
	}
	if _, err := f.read(); err != nil {
		return opened{}, err
	}
	return opened{Provider: certificates, file: f}, nil
}

// refreshDefault is how often the keys of a key server are fetched.
const refreshDefault = 10 * time.Minute

func (p *AuthProvider) openJWT() (opened, error) {
	inUsername := p.TokenIn == "username"
	if p.TokenIn != "" && p.TokenIn != "password" && !inUsername {
		return opened{}, fmt.Errorf("token_in: %q is none of password, username", p.TokenIn)
	}
	claims := auth.JWTOptions{Issuer: p.Issuer, Audience: p.Audience, ClientClaim: p.ClientClaim, UserClaim: p.UserClaim, TenantClaim: p.TenantClaim}
	switch {
	case p.URL != "" && p.File == "" && p.SecretFile == "":
		return p.openKeyServer(claims, inUsername)
	case p.Refresh != 0:
		return opened{}, errors.New("refresh: there is no url; files are read when they change")
	case p.URL == "" && (p.File == "") != (p.SecretFile == ""):
	default:
		return opened{}, errors.New("jwt needs the keys of tokens: one of url, file and secret_file")
	}
	setting, parse := "file", func(text []byte) (*auth.Keys, error) { return auth.ParseKeys(p.File, text) }
	if p.SecretFile != "" {
		setting, parse = "secret_file", auth.SecretKey
	}
	f, err := newAuthFile(p.File+p.SecretFile, setting)
	if err != nil {
		return opened{}, err
	}
	tokens := auth.NewJWT(&auth.Keys{}, claims, inUsername)
	f.load = func(text []byte) error {
		keys, err := parse(text)
		if err == nil {
			tokens.SetKeys(keys)
		}
		return err
	}
	if _, err := f.read(); err != nil {
		return opened{}, err
	}
	return opened{Provider: tokens, file: f}, nil
}

func (p *AuthProvider) openKeyServer(claims auth.JWTOptions, inUsername bool) (opened, error) {
	every := cmp.Or(p.Refresh, refreshDefault)
	if every < time.Second || every > 24*time.Hour {
		return opened{}, fmt.Errorf("refresh: %v is not between 1s and 24h", every)
	}
	keys, err := chain.NewJWKS(chain.JWKSOptions{URL: p.URL, Every: every, Claims: claims, InUsername: inUsername})
	if err != nil {
		return opened{}, fmt.Errorf("url: %w", err)
	}
	return opened{Provider: keys, keys: keys}, nil
}

// readSecret reads one line.
func readSecret(name string) (string, error) {
	text, err := readAuthFile(name)
	if err != nil {
		return "", fmt.Errorf("secret_file: %w", err)
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" || strings.ContainsAny(secret, "\r\n") {
		return "", fmt.Errorf("secret_file: %s does not have one line", name)
	}
	return secret, nil
}

// authFileBytesMax is how long a file of a provider may be: some hundred thousand users.
const authFileBytesMax = 64 << 20

func readAuthFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, authFileBytesMax+1))
	if err == nil && len(text) > authFileBytesMax {
		return nil, fmt.Errorf("%s has more than %d bytes", name, authFileBytesMax)
	}
	return text, err
}
