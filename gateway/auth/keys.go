package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// Bounds of keys. The shortest secret is as long as what HS256 makes of it (RFC 7518 §3.2), and an RSA key above its bound takes
// longer than others may wait.
const (
	SecretBytesMin = 32
	keysMax        = 256
	rsaBitsMin     = 2048
	rsaBitsMax     = 8192
	triesMax       = 8 // keys that a token without key id is tried with
)

// key is one that tokens may be signed with. What it is decides with which algorithms: a public key is never taken for a secret.
type key struct {
	id         string   // empty: of no name, for any token
	algorithms []string // as in the header of a token
	public     any      // or a secret, []byte
	mark       Mark
}

// Keys are those that tokens may be signed with. Read-only: safe from any goroutine.
type Keys struct {
	list  []key
	marks map[Mark]bool
}

func newKeys(list []key) *Keys {
	k := &Keys{list: list, marks: map[Mark]bool{}}
	for i := range list {
		list[i].mark = list[i].makeMark()
		k.marks[list[i].mark] = true
	}
	return k
}

// makeMark is of the key alone: whether it has another name tomorrow does not matter to who has come in by it.
func (k *key) makeMark() Mark {
	if secret, ok := k.public.([]byte); ok {
		return markOf("secret " + string(secret))
	}
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		panic("auth: a key of a kind that algorithmsOf does not know: " + err.Error())
	}
	return markOf("public " + string(der))
}

// Same tells whether both are the same keys under the same names.
func (k *Keys) Same(other *Keys) bool {
	return slices.EqualFunc(k.list, other.list, func(a, b key) bool {
		return a.id == b.id && a.mark == b.mark && slices.Equal(a.algorithms, b.algorithms)
	})
}

// find is what a token with this header may be signed with. errUnknownKey: none of them has the key id that it names.
func (k *Keys) find(algorithm, id string) (fit []*key, err error) {
	named := false
	for i := range k.list {
		c := &k.list[i]
		if id != "" && c.id != "" && c.id != id {
			continue
		}
		named = true
		if slices.Contains(c.algorithms, algorithm) && len(fit) < triesMax {
			fit = append(fit, c)
		}
	}
	switch {
	case !named:
		return nil, errUnknownKey
	case len(fit) == 0:
		return nil, ErrJWT
	}
	return fit, nil
}

// SecretKey is one secret, without white space around it, for HS256, and for HS384 and HS512 if it is as long as those ask. The error tells how
// long it must be.
func SecretKey(secret []byte) (*Keys, error) {
	secret = bytes.TrimSpace(secret)
	n := len(secret)
	if n < SecretBytesMin {
		return nil, fmt.Errorf("auth: the secret has %d bytes; make one of at least %d, such as with: openssl rand -hex 32", n, SecretBytesMin)
	}
	algorithms := []string{"HS256"}
	if n >= 48 {
		algorithms = append(algorithms, "HS384")
	}
	if n >= 64 {
		algorithms = append(algorithms, "HS512")
	}
	return newKeys([]key{{algorithms: algorithms, public: bytes.Clone(secret)}}), nil
}

// ParseKeys reads a file of public keys: PEM, or a JSON Web Key Set if it begins with a brace. name is the file's, for errors.
func ParseKeys(name string, text []byte) (*Keys, error) {
	parse := parsePEM
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		parse = ParseJWKS
	}
	k, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return k, nil
}

// parsePEM reads public keys and certificates. None of them has a key id.
func parsePEM(text []byte) (*Keys, error) {
	var list []key
	for n := 1; ; n++ {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		public, err := parseBlock(block)
		if err != nil {
			return nil, fmt.Errorf("block %d: %w", n, err)
		}
		algorithms, err := algorithmsOf(public)
		if err != nil {
			return nil, fmt.Errorf("block %d: %w", n, err)
		}
		list = append(list, key{algorithms: algorithms, public: public})
	}
	switch {
	case len(bytes.TrimSpace(text)) > 0:
		return nil, errors.New("behind the last block is something that is not PEM, which is -----BEGIN PUBLIC KEY----- and so on")
	case len(list) == 0:
		return nil, errors.New("no public keys in it")
	case len(list) > triesMax:
		return nil, fmt.Errorf("%d keys, and PEM has no names for them: at most %d, or a JSON Web Key Set with a kid for each", len(list), triesMax)
	}
	return newKeys(list), nil
}

func parseBlock(block *pem.Block) (public any, err error) {
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err == nil {
			public = c.PublicKey
		}
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("a private key, which belongs to whoever signs tokens alone; the public one is what openssl pkey -pubout makes of it")
	default:
		return nil, errors.New("neither a public key nor a certificate")
	}
	if err != nil {
		return nil, errors.New("a public key that cannot be read")
	}
	return public, nil
}

// algorithmsOf are those that a public key is for.
func algorithmsOf(public any) ([]string, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < rsaBitsMin || n > rsaBitsMax {
			return nil, fmt.Errorf("an RSA key of %d bits; it has between %d and %d", n, rsaBitsMin, rsaBitsMax)
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []string{"ES256"}, nil
		case elliptic.P384():
			return []string{"ES384"}, nil
		}
		return nil, errors.New("a curve that is neither P-256 nor P-384")
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	}
	return nil, errors.New("a key that is neither RSA, ECDSA nor Ed25519")
}
