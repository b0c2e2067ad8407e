package proxy

import (
	"bytes"
	"errors"
	"net/netip"
)

// Versions says which versions of the header are taken.
type Versions uint8

// V1 is a line of text, V2 is binary.
const (
	V1 Versions = 1 << iota
	V2
	Any = V1 | V2
)

// BytesMax is the longest header that is taken. One of version 2 may claim 64 KiB; those of HAProxy, Envoy and the clouds have a few hundred
// bytes, and this comes before anybody has said who they are.
const BytesMax = 4096

// Header is what a load balancer says of a connection. Its slices are borrowed from the input of Parse.
type Header struct {
	Source netip.AddrPort // not valid: the balancer's own connection (a health check), or none that has an address here
	TLS    bool           // the client spoke TLS to the balancer

	Authority []byte // server name of TLS (SNI); nil: not said
	ALPN      []byte // protocol negotiated in TLS; nil: not said
	CN        []byte // common name of the client's certificate; nil unless the balancer has verified it
}

// ErrMalformed says that the input does not begin with a header, or with a bad one, or one of a version that is not taken.
var ErrMalformed = errors.New("no PROXY header")

// signature begins every header of version 2.
const signature = "\r\n\r\n\x00\r\nQUIT\n"

// Parse reads the header at the start of p. It took n bytes; n == 0 without an error means that p does not yet hold all of it. Fit for input
// from strangers: nothing is allocated, and no more than BytesMax are waited for.
func Parse(p []byte, take Versions) (h Header, n int, err error) {
	v1, v2 := begins(p, "PROXY "), begins(p, signature)
	switch {
	case v1 && take&V1 != 0 && len(p) >= len("PROXY "):
		return parseLine(p)
	case v2 && take&V2 != 0 && len(p) >= len(signature):
		return parseBinary(p)
	case v1 && take&V1 != 0, v2 && take&V2 != 0:
		return Header{}, 0, nil
	}
	return Header{}, 0, ErrMalformed
}

// begins tells that p begins with prefix, as far as either goes.
func begins(p []byte, prefix string) bool {
	n := min(len(p), len(prefix))
	return bytes.Equal(p[:n], []byte(prefix[:n]))
}
