package bus

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Options say where NATS is and what the user wants to hear.
type Options struct {
	// Embedded runs a NATS server with JetStream in this process; URLs and credentials must then be empty.
	Embedded   bool
	ListenAddr string // of the embedded server, for ordinary NATS tools, such as "127.0.0.1:4222"; "": in-process only
	DataDir    string // of the embedded server's JetStream; used by one process at a time

	URLs []string // external servers, tried in random order

	// At most one of CredsFile, NKeyFile, Token and User.
	CredsFile, NKeyFile   string
	Token, User, Password string

	TLSCAFile, TLSCertFile, TLSKeyFile string
	TLS                                bool // demand TLS even if the URLs do not say tls://

	Node                   string // connection and server name; in the header with HeaderNode
	HeaderUser, HeaderNode bool   // put user, node into the header TG

	// PendingBytesMax is the memory of the batches one publisher holds unconfirmed; beyond it Offer refuses, OfferRefused counts. Default 8 MiB.
	PendingBytesMax int
	// InboxBytesMax is the memory of messages that wait for Receive; beyond it the newest are dropped, SlowDrops counts. Default 64 MiB.
	InboxBytesMax int

	// Receive gets what arrives for the interests, in order, in runs of at most 256; ms is borrowed until it returns. One bus goroutine calls it. It may
	// block: then the inbox fills.
	Receive func(ms []Inbound)
	// Leaf makes the embedded server a leaf node of another NATS. nil: it stands alone.
	Leaf *Leaf
	// OnLeaf is told each change of LeafStatus but the numbers, on a bus goroutine. It must not call Close.
	OnLeaf func(LeafStatus)
	// Durable has the Bus keep streams and buckets in JetStream, for Storer and sessions. nil: JetStream is not used.
	Durable *Durable
	// OnReady is called on a bus goroutine each time the streams and buckets of Durable have become ready (Bus.Ready). It must not call Close.
	OnReady func()
	// ReceiveLog gets what Follow asked for, in the order of the stream, in runs of at most 256 of one stream; ms is borrowed until it returns. One bus goroutine
	// for each stream calls it. It may block: then the stream is read later, and nothing is lost.
	ReceiveLog func(ms []Inbound)
	// OnStatus is told each change of Status.State, one after the other, on a bus goroutine. It must not call Close.
	OnStatus func(Status)
	// Logf gets the log of the embedded server; level is "debug", "info", "warn" or "error". Called from any goroutine.
	Logf func(level, format string, args ...any)

	askPatience time.Duration // instead of the constant; for tests
	overTCP     bool          // embedded: connect over its listener instead of in-process; for the benchmark
}

const (
	pendingBytesDefault = 8 << 20
	inboxBytesDefault   = 64 << 20
	// dialTimeout bounds one attempt to connect, TLS and login included.
	dialTimeout = 5 * time.Second
	// writeTimeout is how long a write to NATS may stall before the connection counts as broken.
	writeTimeout = 10 * time.Second
	// pingEvery and two missing answers find a peer that vanished without a word.
	pingEvery = 10 * time.Second
)

func (o *Options) setDefaults() {
	if o.PendingBytesMax <= 0 {
		o.PendingBytesMax = pendingBytesDefault
	}
	if o.InboxBytesMax <= 0 {
		o.InboxBytesMax = inboxBytesDefault
	}
	if o.Node == "" {
		o.Node = "tidegate"
	}
	if o.Receive == nil {
		o.Receive = func([]Inbound) {}
	}
	if o.ReceiveLog == nil {
		o.ReceiveLog = func([]Inbound) {}
	}
	if o.OnStatus == nil {
		o.OnStatus = func(Status) {}
	}
	if o.OnLeaf == nil {
		o.OnLeaf = func(LeafStatus) {}
	}
	if o.OnReady == nil {
		o.OnReady = func() {}
	}
	if o.Logf == nil {
		o.Logf = func(string, string, ...any) {}
	}
}

// natsOptions checks the options, all of them in one run, and translates them for nats.go.
func (o *Options) natsOptions() (nats.Options, error) {
	n := nats.GetDefaultOptions()
	n.Name = o.Node
	n.Servers = o.URLs
	n.Timeout = dialTimeout
	n.FlusherTimeout = writeTimeout
	n.ReconnectOnFlusherError = true // a write that stalled breaks the connection
	n.PingInterval, n.MaxPingsOut = pingEvery, 2
	// Reconnecting is the link's (link.go); nats.go neither buffers nor repeats.
	n.AllowReconnect = false
	n.ReconnectBufSize = -1

	var bad []error
	if o.Embedded {
		bad = o.checkEmbedded(bad)
	} else {
		bad = o.checkURLs(bad)
	}
	if o.Durable != nil {
		if err := o.Durable.check(o.Embedded); err != nil {
			bad = append(bad, err)
		}
	}
	if o.Leaf != nil {
		if err := o.Leaf.check(o.Embedded); err != nil {
			bad = append(bad, err)
		}
	}
	if err := o.setLogin(&n); err != nil {
		bad = append(bad, err)
	}
	if err := o.setTLS(&n); err != nil {
		bad = append(bad, err)
	}
	return n, errors.Join(bad...)
}

func (o *Options) checkEmbedded(bad []error) []error {
	if len(o.URLs) > 0 {
		bad = append(bad, errors.New("bus: NATS is either embedded or at URLs, not both"))
	}
	if o.CredsFile+o.NKeyFile+o.Token+o.User != "" {
		bad = append(bad, errors.New("bus: credentials are for an external NATS; the embedded one has none"))
	}
	if o.DataDir == "" {
		bad = append(bad, errors.New("bus: the embedded NATS needs a data directory"))
	}
	return bad
}

func (o *Options) checkURLs(bad []error) []error {
	if len(o.URLs) == 0 {
		return append(bad, errors.New("bus: neither an embedded NATS nor a URL of one is configured"))
	}
	for _, s := range o.URLs {
		if !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		u, err := url.Parse(s)
		if err != nil {
			// The text of err repeats the URL, which may hold a password.
			bad = append(bad, errors.New("bus: a NATS URL does not parse; it should look like nats://host:4222"))
			continue
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			bad = append(bad, fmt.Errorf("bus: NATS URL %s: the scheme should be nats, tls, ws or wss", u.Redacted()))
		}
		if u.Hostname() == "" {
			bad = append(bad, fmt.Errorf("bus: NATS URL %s has no host; it should look like nats://host:4222", u.Redacted()))
		}
	}
	return bad
}

func (o *Options) setLogin(n *nats.Options) error {
	kinds := 0
	for _, s := range []string{o.CredsFile, o.NKeyFile, o.Token, o.User} {
		if s != "" {
			kinds++
		}
	}
	if kinds > 1 {
		return errors.New("bus: give only one of credentials file, nkey file, token and user")
	}
	switch {
	case o.CredsFile != "":
		if _, err := os.ReadFile(o.CredsFile); err != nil {
			return fmt.Errorf("bus: credentials file: %w", err)
		}
		return nats.UserCredentials(o.CredsFile)(n)
	case o.NKeyFile != "":
		option, err := nats.NkeyOptionFromSeed(o.NKeyFile)
		if err != nil {
			return fmt.Errorf("bus: nkey file %s: %w; it should hold a user seed (SU…)", o.NKeyFile, err)
		}
		return option(n)
	case o.Token != "":
		n.Token = o.Token
	case o.User != "":
		n.User, n.Password = o.User, o.Password
	}
	return nil
}

func (o *Options) setTLS(n *nats.Options) error {
	c, err := clientTLS(o.TLSCAFile, o.TLSCertFile, o.TLSKeyFile)
	if err != nil {
		return err
	}
	if c == nil && o.TLS {
		c = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	n.Secure, n.TLSConfig = c != nil, c
	return nil
}

// clientTLS is TLS with what PEM files say; nil when none is named.
func clientTLS(caFile, certFile, keyFile string) (*tls.Config, error) {
	if caFile+certFile+keyFile == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("bus: TLS CA file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("bus: TLS CA file %s holds no PEM certificate", caFile)
		}
	}
	if certFile+keyFile != "" {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("bus: TLS certificate and key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
