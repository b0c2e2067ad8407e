package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/tidegate/tidegate/gateway"
)

// port is an address the gateway is going to listen on.
type port struct {
	addr    netip.AddrPort
	path    string // its setting
	fix     string // how to choose another
	devices bool   // it is for devices
	shared  bool   // other gateways may listen on it, too
}

// checkPorts tries every address before anything starts and reports all that are taken. Beside the better message
// there is a need: the loops listen with SO_REUSEPORT, so a second gateway of the same user on the same port would not
// fail but quietly take half of the first one's devices. With share_port that is what is wanted, and only who listens
// alone is in the way: another program, or a gateway that was started without. release ends the mark of this one.
func checkPorts(cfg *gateway.Config) (release func(), err error) {
	var errs []error
	var marks []net.PacketConn
	release = func() {
		for _, m := range marks {
			_ = m.Close()
		}
	}
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
		ln, err := p.try()
		if err != nil {
			errs = append(errs, p.explain(err))
			continue
		}
		if ln != nil {
			held = append(held, ln)
		}
		switch {
		case p.shared:
			errs = append(errs, p.findMark())
		case p.devices:
			mark, err := p.mark()
			if err != nil {
				errs = append(errs, p.explain(err))
			}
			if mark != nil {
				marks = append(marks, mark)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// try finds out whether the address can be had. A shared one is not listened on: the kernel would give us devices.
func (p port) try() (net.Listener, error) {
	if p.shared {
		return nil, gateway.ProbeShared(p.addr)
	}
	return net.Listen("tcp", p.addr.String())
}

// mark tells other gateways that this one does not share its port: the kernel lets a sharing one in all the same, and a
// second one that does not share, too, as long as the loops of the first do not listen yet. It is the name of an abstract
// datagram socket: it lives in the network namespace, like the port, ends with the process, however that ends, and one
// process only can have it. nil without an error: there are no abstract sockets here.
func (p port) mark() (net.PacketConn, error) {
	m, err := net.ListenPacket("unixgram", markPrefix+p.addr.String())
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, err
	case err != nil:
		return nil, nil
	}
	return m, nil
}

const (
	markPrefix = "@tidegate/"
	marksFile  = "/proc/self/net/unix"
)

// findMark tells whether a gateway that does not share has the port, on this address or on one that overlaps it. The names
// are read and not tried. A stream socket on which nobody accepts answers only as many as its backlog holds; and of two
// sharing gateways that bound the name for a moment, one would take the other for one that does not share.
func (p port) findMark() error {
	list, err := os.Open(marksFile)
	if err != nil {
		return fmt.Errorf("%s: cannot see whether a gateway without --share-port listens on %s: %w; fix: mount /proc", p.path, p.addr, err)
	}
	defer list.Close()
	marked, err := p.markedIn(list)
	if err != nil {
		return fmt.Errorf("%s: cannot see whether a gateway without --share-port listens on %s: reading %s: %w; fix: start again",
			p.path, p.addr, marksFile, err)
	}
	if !marked.IsValid() {
		return nil
	}
	return fmt.Errorf("%s: a gateway without --share-port listens on %s; fix: stop it and start it with --share-port and the same --nats, or choose another address with %s",
		p.path, marked, p.fix)
}

// markedIn is the first address in a list of sockets (proc_net(5)) that is marked and that this port overlaps; the list is
// read as it comes, since there may be hundreds of thousands of sockets.
func (p port) markedIn(list io.Reader) (marked netip.AddrPort, err error) {
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		_, text, found := strings.Cut(lines.Text(), " "+markPrefix)
		if !found {
			continue
		}
		if addr, err := netip.ParseAddrPort(text); err == nil && p.overlaps(addr) {
			return addr, nil
		}
	}
	return netip.AddrPort{}, lines.Err()
}

// overlaps tells whether connections to other may come to this port.
func (p port) overlaps(other netip.AddrPort) bool {
	return p.addr.Port() == other.Port() &&
		(p.addr.Addr() == other.Addr() || p.addr.Addr().IsUnspecified() || other.Addr().IsUnspecified())
}

func ports(cfg *gateway.Config) []port {
	var all []port
	for i, text := range cfg.Listeners {
		if l, err := gateway.ParseListener(text); err == nil {
			all = append(all, port{
				addr: l.Addr, path: fmt.Sprintf("listeners[%d]", i), fix: "--listen " + l.Scheme + "://ADDR:PORT", devices: true, shared: cfg.SharePort,
			})
		}
	}
	if addr, err := gateway.ResolveAddr(cfg.Admin); err == nil {
		all = append(all, port{addr: addr, path: "admin", fix: "--admin ADDR:PORT; each gateway has its own, and port 0 takes any that is free"})
	}
	if cfg.NATS.URL == "embedded" {
		if addr, err := gateway.ResolveAddr(cfg.NATS.Listen); err == nil {
			fix := fmt.Sprintf("--nats-listen ADDR:PORT, or use the NATS that runs there: --nats nats://%s", addr)
			all = append(all, port{addr: addr, path: "nats.listen", fix: fix})
		}
	}
	return all
}

func (p port) explain(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		share := ""
		switch {
		case p.shared:
			share = "; only gateways of one user that all have --share-port can share it"
		case p.devices:
			share = "; several gateways can share it as one: --share-port and an external --nats in each of them"
		}
		return fmt.Errorf("%s: %s is in use by another program (ss -ltnp 'sport = :%d' names it); fix: stop that, or choose another with %s%s",
			p.path, p.addr, p.addr.Port(), p.fix, share)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: this user may not listen on %s; fix: a port above 1023 with %s, or give the program CAP_NET_BIND_SERVICE",
			p.path, p.addr, p.fix)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: this machine does not have the address %s (ip addr lists them); fix: %s",
			p.path, p.addr.Addr(), p.fix)
	}
	return fmt.Errorf("%s: cannot listen on %s: %w; fix: %s", p.path, p.addr, err, p.fix)
}
