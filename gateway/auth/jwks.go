package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// JWKSBytesMax is the longest JSON Web Key Set that is looked at.
const JWKSBytesMax = 256 << 10

// webKey is a member of a set (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
type webKey struct {
	Type       string   `json:"kty"`
	Use        string   `json:"use"`
	Operations []string `json:"key_ops"`
	Algorithm  string   `json:"alg"`
	ID         string   `json:"kid"`
	Curve      string   `json:"crv"`
	N          string   `json:"n"`
	E          string   `json:"e"`
	X          string   `json:"x"`
	Y          string   `json:"y"`
}

var errWebKey = errors.New("not a public key of a kind that is known")

// ParseJWKS reads a JSON Web Key Set. Keys that are for something else, or of a kind that is not known, are skipped (RFC 7517 §5), as are secrets: who
// can read the set could sign. A set without any that can be used is an error.
func ParseJWKS(text []byte) (*Keys, error) {
	if len(text) > JWKSBytesMax {
		return nil, fmt.Errorf("the key set has more than %d bytes", JWKSBytesMax)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("not a JSON Web Key Set, which is {\"keys\": [...]}")
	}
	if len(set.Keys) > keysMax {
		return nil, fmt.Errorf("the key set has %d keys; at most %d", len(set.Keys), keysMax)
	}
	var list []key
	for _, raw := range set.Keys {
		var w webKey
		if err := json.Unmarshal(raw, &w); err != nil {
			continue
		}
		if k, err := w.key(); err == nil {
			list = append(list, k)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("none of the %d keys of the set is one to check signatures with: RSA of %d bits or more, P-256, P-384 or Ed25519", len(set.Keys), rsaBitsMin)
	}
	return newKeys(list), nil
}

// key is w, if it is one that signatures can be checked with.
func (w *webKey) key() (key, error) {
	if w.Use != "" && w.Use != "sig" || len(w.Operations) > 0 && !slices.Contains(w.Operations, "verify") {
		return key{}, errWebKey
	}
	public, err := w.public()
	if err != nil {
		return key{}, err
	}
	algorithms, err := algorithmsOf(public)
	if err != nil {
		return key{}, err
	}
	if w.Algorithm != "" {
		if !slices.Contains(algorithms, w.Algorithm) {
			return key{}, errWebKey
		}
		algorithms = []string{w.Algorithm}
	}
	return key{id: w.ID, algorithms: algorithms, public: public}, nil
}

func (w *webKey) public() (any, error) {
	switch w.Type {
	case "RSA":
		return w.rsa()
	case "EC":
		return w.ecdsa()
	case "OKP":
		x, err := base64.RawURLEncoding.DecodeString(w.X)
		if err != nil || w.Curve != "Ed25519" || len(x) != ed25519.PublicKeySize {
			return nil, errWebKey
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, errWebKey
}

func (w *webKey) rsa() (any, error) {
	n, errN := base64.RawURLEncoding.DecodeString(w.N)
	e, errE := base64.RawURLEncoding.DecodeString(w.E)
	if errN != nil || errE != nil || len(n) > rsaBitsMax/8+1 || len(e) == 0 || len(e) > 4 {
		return nil, errWebKey
	}
	exponent := new(big.Int).SetBytes(e).Int64()
	if exponent < 3 || exponent > 1<<31-1 || exponent%2 == 0 {
		return nil, errWebKey
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent)}, nil
}

func (w *webKey) ecdsa() (any, error) {
	curve, known := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384()}[w.Curve]
	if !known {
		return nil, errWebKey
	}
	x, errX := base64.RawURLEncoding.DecodeString(w.X)
	y, errY := base64.RawURLEncoding.DecodeString(w.Y)
	size := (curve.Params().BitSize + 7) / 8
	if errX != nil || errY != nil || len(x) != size || len(y) != size {
		return nil, errWebKey
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y)) // which checks that it is on the curve
	if err != nil {
		return nil, errWebKey
	}
	return public, nil
}
