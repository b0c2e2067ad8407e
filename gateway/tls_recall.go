package gateway

import (
	"crypto/x509"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth"
)

// A certificate may be revoked while its device is connected, which may be for months, or its authority be trusted no longer. So when lists or authorities were
// read anew the loops look at who is there. Authorities are replaced by naming both, until the devices have certificates of the new one.

// tlsPeer is what the gateway keeps of a handshake. Made by a worker, then owned by the loop of the connection.
type tlsPeer struct {
	auth.Peer
	proofs     []proof // of its certificate, those that were good; none: it has shown none
	generation uint64  // of the files that it was judged by
}

// proof is a chain from the certificate of a device to one that is trusted.
type proof struct {
	links []issued // all but the last
	root  [32]byte // authorityKey of that: of the certificate itself where it is trusted as it is
}

// issued is a certificate as revocation lists name it.
type issued struct {
	by     [32]byte // authorityKey
	serial string
}

func proofOf(chain []*x509.Certificate) proof {
	last := len(chain) - 1
	p := proof{root: authorityKey(chain[last])}
	for i := range last {
		p.links = append(p.links, issued{authorityKey(chain[i+1]), string(chain[i].SerialNumber.Bytes())})
	}
	return p
}

// recalled tells whether the certificate that a connection has shown would be let in no longer.
func (s *shard) recalled(c *epoll.Conn) bool {
	if s.gw.tls == nil || s.gw.tls.doors[c.Listener()] == nil {
		return false
	}
	p, _ := c.Secured().(*tlsPeer)
	now := s.gw.tls.doors[c.Listener()].now.Load()
	if p == nil || len(p.proofs) == 0 || p.generation == now.generation {
		return false
	}
	for i := range p.proofs {
		if now.creds.accepts(&p.proofs[i]) {
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
