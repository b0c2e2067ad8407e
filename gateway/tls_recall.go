package gateway

import (
	"crypto/x509"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth"
)

// A certificate may be revoked while its device is connected, which may be for months. So when lists were read anew the loops look at who is there. A changed
// authority ends nobody: that is how authorities are replaced without a moment at which all devices have to come anew.

// tlsPeer is what the gateway keeps of a handshake. Made by a worker, then owned by the loop of the connection.
type tlsPeer struct {
	auth.Peer
	chains     [][]issued // of its certificate, those that were good; none: it has shown none
	generation uint64     // of the files that it was judged by
}

// issued is a certificate as revocation lists name it.
type issued struct {
	by     [32]byte // authorityKey
	serial string
}

// issuedOf is a chain without its root, which no list is about.
func issuedOf(chain []*x509.Certificate) []issued {
	all := make([]issued, 0, len(chain))
	for i := range len(chain) - 1 {
		all = append(all, issued{authorityKey(chain[i+1]), string(chain[i].SerialNumber.Bytes())})
	}
	return all
}

// recalled tells whether the certificate that a connection has shown was revoked since.
func (s *shard) recalled(c *epoll.Conn) bool {
	if s.gw.tls == nil || s.gw.tls.doors[c.Listener()] == nil {
		return false
	}
	p, _ := c.Secured().(*tlsPeer)
	now := s.gw.tls.doors[c.Listener()].now.Load()
	if p == nil || len(p.chains) == 0 || p.generation == now.generation {
		return false
	}
	for _, chain := range p.chains {
		if !now.creds.revoked.hasAny(chain) {
			p.generation = now.generation
			return false
		}
	}
	return true
}

// recallAll has the loops look at who is connected. It waits for none.
func (x *tlsGate) recallAll() {
	for _, s := range x.gw.shards {
		s.doSoon(func(s *shard) { s.recall(1) })
	}
}

// recall looks at the connections from a slot on, and in the next tick at the following ones. Who is on the way to another shard meanwhile is looked at there.
func (s *shard) recall(from uint32) {
	next := s.loop.EachFrom(from, recheckStep, func(c *epoll.Conn) {
		if s.recalled(c) {
			s.doomed = append(s.doomed, doomed{c.Handle(), reasonRevoked})
		}
	})
	if next != 0 {
		s.doSoon(func(s *shard) { s.recall(next) })
	}
}
