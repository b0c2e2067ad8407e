package auth

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

// Identity says what of a client certificate is the user's name.
type Identity uint8

// By what of a certificate a device is known.
const (
	ByTLS         Identity = iota // what tls.identity has for the listener, or the CN that a proxy told
	ByCN                          // of the subject
	BySAN                         // any of the subject alternative names: the one that the device gives as User Name, or else the first
	ByFingerprint                 // SHA-256 of the certificate, in hex
)

// Fingerprints are those of certificates. Read-only: safe from any goroutine.
type Fingerprints struct{ marks map[Mark]bool }

// ParseFingerprints reads a file with the SHA-256 of a certificate in each line, in hex, colons or none; name is the file's, for errors. What comes after a space is
// a remark. Empty lines and those that begin with # are skipped. A file with nothing in it is an error; one with no more than remarks lets nobody in.
func ParseFingerprints(name string, text []byte) (*Fingerprints, error) {
	f := &Fingerprints{map[Mark]bool{}}
	err := eachLine(name, text, noneOf(text, "no fingerprints in it, and no remark such as # none"), func(_ int, line string) error {
		first, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		print := strings.ToLower(strings.ReplaceAll(first, ":", ""))
		if raw, err := hex.DecodeString(print); err != nil {
			return errors.New("not in hex, as openssl x509 -noout -fingerprint -sha256 prints it behind the =")
		} else if len(raw) != keyBytes {
			return fmt.Errorf("%d bytes; a SHA-256 has %d", len(raw), keyBytes)
		}
		f.marks[markOf(print)] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Certificates is the provider that knows devices by the certificate that they showed and TLS verified.
type Certificates struct {
	by      Identity
	allowed atomic.Pointer[Fingerprints] // nil: all that are verified
}

// NewCertificates lets in whose certificate is among allowed; nil: each one that is verified.
func NewCertificates(by Identity, allowed *Fingerprints) *Certificates {
	c := &Certificates{by: by}
	if allowed != nil {
		c.Set(allowed)
	}
	return c
}

// Set has it let in others from now on. Safe from any goroutine.
func (c *Certificates) Set(allowed *Fingerprints) { c.allowed.Store(allowed) }

// Name is part of Provider.
func (c *Certificates) Name() string { return "certificate" }

// Stands is part of Keeper.
func (c *Certificates) Stands(m Mark) bool {
	allowed := c.allowed.Load()
	return allowed == nil || allowed.marks[m]
}

// Authenticate is part of Provider. Who showed no certificate is passed on. One that expires ends the session then.
func (c *Certificates) Authenticate(_ context.Context, r *Request, _ int64) (Answer, error) {
	p := r.Peer
	if p == nil || p.Fingerprint == "" && p.CN == "" && len(p.Names) == 0 {
		return Answer{}, nil
	}
	mark := markOf(strings.ToLower(p.Fingerprint))
	if !c.Stands(mark) {
		return Answer{Verdict: Deny, Refusal: NotAuthorized}, nil
	}
	user := c.user(r)
	if user == "" || checkShown(user) != nil {
		return Answer{Verdict: Deny, Refusal: NotAuthorized}, nil
	}
	return Answer{Verdict: Allow, User: user, ExpiresSec: p.ExpiresSec, Standing: Standing{c, mark}}, nil
}

// user is whose the certificate is, empty if it has no such name, or not the one that the device gave.
func (c *Certificates) user(r *Request) string {
	var names []string
	switch c.by {
	case ByTLS:
		names = []string{cmp.Or(r.Peer.User, r.Peer.CN)}
	case ByCN:
		names = []string{r.Peer.CN}
	case BySAN:
		names = r.Peer.Names
	case ByFingerprint:
		if r.Peer.Fingerprint != "" {
			names = []string{strings.ToLower(r.Peer.Fingerprint)}
		}
	}
	switch {
	case len(names) == 0:
		return ""
	case !r.HasUsername || r.Username == "":
		return names[0]
	case slices.Contains(names, r.Username):
		return r.Username
	}
	return ""
}
