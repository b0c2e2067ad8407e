package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"github.com/tidegate/tidegate/gateway"
)

// port is an address the gateway is going to listen on.
type port struct {
	addr netip.AddrPort
	path string // its setting
	fix  string // how to choose another
}

// checkPorts tries every address before anything starts and reports all that are taken. Beside the better message
// there is a need: the loops listen with SO_REUSEPORT, so a second gateway of the same user on the same port would not
// fail but quietly take half of the first one's devices.
func checkPorts(cfg *gateway.Config) error {
	var errs []error
	var held []net.Listener
	defer func() {
		for _, ln := range held {
			ln.Close()
		}
	}()
	names := map[netip.AddrPort]string{}
	for _, p := range ports(cfg) {
		if p.addr.Port() == 0 {
			continue
		}
		if other, twice := names[p.addr]; twice {
			errs = append(errs, fmt.Errorf("%s: %s is taken by %s already; fix: %s", p.path, p.addr, other, p.fix))
			continue
		}
		names[p.addr] = p.path
		ln, err := net.Listen("tcp", p.addr.String())
		if err != nil {
			errs = append(errs, p.explain(err))
			continue
		}
		held = append(held, ln)
	}
	return errors.Join(errs...)
}

func ports(cfg *gateway.Config) []port {
	var all []port
	for i, text := range cfg.Listeners {
		if l, err := gateway.ParseListener(text); err == nil {
			all = append(all, port{l.Addr, fmt.Sprintf("listeners[%d]", i), "--listen " + l.Scheme + "://ADDR:PORT"})
		}
	}
	if addr, err := gateway.ResolveAddr(cfg.Admin); err == nil {
		all = append(all, port{addr, "admin", "--admin ADDR:PORT"})
	}
	if cfg.NATS.URL == "embedded" {
		if addr, err := gateway.ResolveAddr(cfg.NATS.Listen); err == nil {
			fix := fmt.Sprintf("--nats-listen ADDR:PORT, or use the NATS that runs there: --nats nats://%s", addr)
			all = append(all, port{addr, "nats.listen", fix})
		}
	}
	return all
}

func (p port) explain(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: %s is in use by another program (ss -ltnp 'sport = :%d' names it); fix: stop that, or choose another with %s",
			p.path, p.addr, p.addr.Port(), p.fix)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: this user may not listen on %s; fix: a port above 1023 with %s, or give the program CAP_NET_BIND_SERVICE",
			p.path, p.addr, p.fix)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: this machine does not have the address %s (ip addr lists them); fix: %s",
			p.path, p.addr.Addr(), p.fix)
	}
	return fmt.Errorf("%s: cannot listen on %s: %w; fix: %s", p.path, p.addr, err, p.fix)
}
