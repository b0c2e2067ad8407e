package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// embedded is a NATS server with JetStream in this process.
type embedded struct {
	server *server.Server
	lock   *os.File // held while we use the data directory
	dir    string   // the data directory, absolute
	listen bool
	log    *serverLog
}

const (
	// embeddedPayloadMax is max_payload of the embedded server: the limit of devices decides, not this one.
	embeddedPayloadMax = 8 << 20
	// startTimeout bounds the start; JetStream may have to read a lot after a crash.
	startTimeout = 60 * time.Second
)

// startEmbedded takes the data directory, starts the server and waits until it is ready.
func startEmbedded(ctx context.Context, o *Options, door server.Authentication) (*embedded, error) {
	so, err := o.serverOptions()
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(o.DataDir)
	if err != nil {
		return nil, err
	}
	so.CustomClientAuthentication = door
	e := &embedded{lock: lock, listen: !so.DontListen}
	if e.dir, err = filepath.Abs(o.DataDir); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("bus: data directory: %w", err)
	}
	if err := e.start(ctx, o, so); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return e, nil
}

func (o *Options) serverOptions() (*server.Options, error) {
	so := &server.Options{
		ServerName: o.Node,
		JetStream:  true,
		StoreDir:   o.DataDir,
		NoSigs:     true, // its signal handler would end the process in the middle of a drain
		NoLog:      true,
		MaxPayload: embeddedPayloadMax,
		DontListen: o.ListenAddr == "",
	}
	if d := o.Durable; d != nil {
		so.SyncAlways = d.Sync == "always"
		if d.Sync == "interval" {
			so.SyncInterval = max(d.SyncInterval, 0)
			if so.SyncInterval == 0 {
				so.SyncInterval = time.Second
			}
		}
	}
	if o.Leaf != nil {
		if err := o.setLeaf(so); err != nil {
			return nil, err
		}
	}
	if so.DontListen {
		return so, nil
	}
	host, port, err := net.SplitHostPort(o.ListenAddr)
	if err != nil {
		return nil, fmt.Errorf("bus: NATS listen address %q: %w; it should look like 127.0.0.1:4222", o.ListenAddr, err)
	}
	if so.Port, err = strconv.Atoi(port); err != nil || so.Port < 0 || so.Port > 65535 {
		return nil, fmt.Errorf("bus: NATS listen address %q: the port should be a number up to 65535", o.ListenAddr)
	}
	if so.Port == 0 {
		so.Port = server.RANDOM_PORT
	}
	if so.Host = host; host == "" {
		so.Host = "0.0.0.0"
	}
	return so, probe(o.ListenAddr)
}

// probe finds out whether the address is free, for a clearer error than the server's.
func probe(address string) error {
	l, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		return l.Close()
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("bus: NATS can't listen on %s: the port is in use, perhaps by a nats-server or another gateway; "+
			"stop that, choose another address with --nats-listen, or use that server with --nats nats://%s", address, address)
	}
	return fmt.Errorf("bus: NATS can't listen on %s: %w; choose an address of this machine with --nats-listen", address, err)
}

// lockDir makes the directory if need be and locks it. The lock ends with the process, however it ends.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("bus: data directory: %w; choose one that can be written with --data", err)
	}
	path := filepath.Join(dir, "gateway.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("bus: data directory: %w; choose one that can be written with --data", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		owner := make([]byte, 16)
		n, _ := f.Read(owner)
		_ = f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("bus: locking %s: %w", path, err)
		}
		return nil, fmt.Errorf("bus: data directory %s is in use by process %s; stop that gateway or choose another directory with --data", dir, owner[:n])
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteString(strconv.Itoa(os.Getpid()))
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("bus: writing %s: %w", path, err)
	}
	return f, nil
}

func (e *embedded) start(ctx context.Context, o *Options, so *server.Options) error {
	s, err := server.NewServer(so)
	if err != nil {
		return fmt.Errorf("bus: embedded NATS: %w", err)
	}
	l := &serverLog{logf: o.Logf}
	e.log = l
	s.SetLogger(l, false, false)
	e.server = s
	go s.Start()
	for end := time.Now().Add(startTimeout); ; {
		if s.ReadyForConnections(50 * time.Millisecond) {
			break
		}
		switch text := l.fatal.Load(); {
		case text != nil:
			err = fmt.Errorf("bus: embedded NATS: %s", *text)
		case ctx.Err() != nil:
			err = fmt.Errorf("bus: embedded NATS: gave up starting: %w", ctx.Err())
		case time.Now().After(end):
			err = fmt.Errorf("bus: embedded NATS is not ready after %v; see the log", startTimeout)
		default:
			continue
		}
		s.Shutdown()
		s.WaitForShutdown()
		return err
	}
	if text := l.fatal.Load(); text != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return fmt.Errorf("bus: embedded NATS: %s", *text)
	}
	return nil
}

// url is where other clients reach the server, "" without a listener.
func (e *embedded) url() string {
	if !e.listen {
		return ""
	}
	return e.server.ClientURL()
}

// stop shuts the server down, once: a second Shutdown has been seen to panic.
func (e *embedded) stop() {
	e.server.Shutdown()
	e.server.WaitForShutdown()
	_ = e.lock.Close()
}

// serverLog hands the server's log to Options.Logf, and keeps the first fatal line, after which the server is useless. Safe from any
// goroutine if Logf is.
type serverLog struct {
	logf  func(level, format string, args ...any)
	fatal atomic.Pointer[string]
	doubt atomic.Pointer[func()] // called when a stream can't write
}

func (l *serverLog) Noticef(format string, v ...any) { l.logf("info", format, v...) }
func (l *serverLog) Warnf(format string, v ...any)   { l.logf("warn", format, v...) }
func (l *serverLog) Debugf(format string, v ...any)  { l.logf("debug", format, v...) }
func (l *serverLog) Tracef(format string, v ...any)  { l.logf("debug", format, v...) }

func (l *serverLog) Errorf(format string, v ...any) {
	l.logf("error", format, v...)
	if doubt := l.doubt.Load(); doubt != nil && strings.Contains(format, "write error") {
		(*doubt)()
	}
}

func (l *serverLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.fatal.CompareAndSwap(nil, &text)
	l.logf("error", format, v...)
}
