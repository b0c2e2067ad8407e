package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
)

// certificates are those of one listener, by name. Not changed once filled.
type certificates struct {
	list   []*tls.Certificate
	byName map[string][]*tls.Certificate // in lower case; wildcards as *.example.com
}

func (c *certificates) add(cert *tls.Certificate) {
	if c.byName == nil {
		c.byName = map[string][]*tls.Certificate{}
	}
	c.list = append(c.list, cert)
	for _, name := range serverNames(cert.Leaf) {
		c.byName[name] = append(c.byName[name], cert)
	}
}

// serverNameMax is the longest name of a host (RFC 1035 §2.3.4).
const serverNameMax = 255

var errServerName = errors.New("the server name that is asked for is that of no host")

// refuseServerName is tls.Config.GetConfigForClient. A server name may be as long as a hello, and is kept for as long as the device is connected, asked about in
// callbacks and put into topics: what no host can be called is refused.
func refuseServerName(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	bad := func(r rune) bool { return r <= ' ' || r >= 0x7F }
	if len(hello.ServerName) > serverNameMax || strings.ContainsFunc(hello.ServerName, bad) {
		return nil, errServerName
	}
	return nil, nil
}

// serverNames are the names that a certificate is for; its common name counts if it has no other.
func serverNames(leaf *x509.Certificate) (names []string) {
	for _, name := range leaf.DNSNames {
		names = append(names, strings.ToLower(name))
	}
	if len(names) == 0 && leaf.Subject.CommonName != "" {
		names = append(names, strings.ToLower(leaf.Subject.CommonName))
	}
	return names
}

// choose is tls.Config.GetCertificate: of the certificates for the name that is asked for, exactly or by a wildcard for its first label, the first
// that the device understands; else the first of all that it understands; else the first.
func (c *certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	fit := c.byName[name]
	if _, rest, ok := strings.Cut(name, "."); ok && len(fit) == 0 {
		fit = c.byName["*."+rest]
	}
	if len(fit) == 0 {
		fit = c.list
	}
	if len(fit) > 1 {
		unnamed := *hello
		unnamed.ServerName = "" // names were compared; what is left is keys and signatures
		for _, cert := range fit {
			if unnamed.SupportsCertificate(cert) == nil {
				return cert, nil
			}
		}
	}
	return fit[0], nil
}
