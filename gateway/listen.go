package gateway

import (
	"fmt"
	"net/netip"

	"github.com/tidegate/tidegate/epoll"
)

// ProbeShared tells whether a gateway can listen on addr beside others that share it.
func ProbeShared(addr netip.AddrPort) error {
	if err := epoll.Probe(addr); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}
