package main

import (
	"github.com/rs/zerolog"

	"github.com/tidegate/tidegate/gateway"
)

// warnOfRoot warns of a process that has every right on its machine and lets strangers speak to it. Nothing here needs them: a port below 1024 is
// had by CAP_NET_BIND_SERVICE.
func warnOfRoot(uid int, listeners []string, log zerolog.Logger) {
	if uid != 0 {
		return
	}
	for _, text := range listeners {
		if l, err := gateway.ParseListener(text); err == nil && !l.Addr.Addr().IsLoopback() {
			log.Warn().Stringer("listener", l).Msg("runs as root and listens beyond this machine; run it as a user of its own, see docs/deploy/tidegate.service " +
				"(a port below 1024 needs only CAP_NET_BIND_SERVICE)")
			return
		}
	}
}
