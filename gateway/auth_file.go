package gateway

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/gateway/auth"
	"github.com/tidegate/tidegate/gateway/auth/chain"
)

// What chains go by may change while the gateway runs: files, and the keys of key servers. Answers that were remembered are forgotten then, and who came
// in by what has gone is closed. What cannot be used leaves all as it is.

// authFile is a file by which a provider answers.
type authFile struct {
	name, setting string
	load          func(text []byte) error // has the provider answer by it, or not
	link          *link

	mu          sync.Mutex
	last, tried stamp // of the last look, of what was read last
	sum         [sha256.Size]byte
}

func newAuthFile(name, setting string) (*authFile, error) {
	if name == "" {
		return nil, fmt.Errorf("%s: needs the name of a file", setting)
	}
	return &authFile{name: name, setting: setting}, nil
}

// follow has a file looked after that is in no chain.
func (ds *doors) follow(f *authFile, by auth.Provider) {
	f.link = &link{Link: chain.NewLink(by, chain.Settings{}), name: f.setting}
	ds.settings, ds.files = append(ds.settings, f.link), append(ds.files, f)
}

// read loads the file unless it is the one that was loaded.
func (f *authFile) read() (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tried = stampOf(f.name) // before it is read: a change meanwhile is one to be read
	f.last = f.tried
	text, err := readAuthFile(f.name)
	if err != nil {
		return false, fmt.Errorf("%s: %w", f.setting, err)
	}
	sum := sha256.Sum256(text)
	if sum == f.sum {
		return false, nil
	}
	if err := f.load(text); err != nil {
		return false, fmt.Errorf("%s: %w", f.setting, err)
	}
	f.sum = sum
	return true, nil
}

// rested tells whether the file has changed and come to rest since: who writes it in place is not to be read halfway.
func (f *authFile) rested() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := stampOf(f.name)
	rested := now != f.tried && now == f.last
	f.last = now
	return rested
}

// reloadResult is what reading again came to, as a metric label.
type reloadResult uint8

const (
	reloadLoaded reloadResult = iota
	reloadSame
	reloadFailed
	reloads
)

var reloadLabels = [reloads]string{"loaded", "same", "failed"}

// followDoors looks after what chains go by until ctx ends.
func (g *Gateway) followDoors(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for _, l := range g.doors.links {
		if l.keys != nil {
			running.Go(func() { l.keys.Run(ctx, func(changed bool, err error) { g.reloaded(l, changed, err) }) })
		}
	}
	if len(g.doors.files) == 0 {
		return
	}
	look := time.NewTicker(tlsLookTime)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			g.reloadFiles((*authFile).rested)
		case <-ctx.Done():
			return
		}
	}
}

// reloadFiles reads files again.
func (g *Gateway) reloadFiles(which func(f *authFile) bool) {
	for _, f := range g.doors.files {
		if which(f) {
			changed, err := f.read()
			g.reloaded(f.link, changed, err)
		}
	}
}

// reloaded makes use of what a provider goes by from now on. Safe from any goroutine.
func (g *Gateway) reloaded(l *link, changed bool, err error) {
	switch {
	case err != nil:
		l.reloads[reloadFailed].Add(1)
		g.log.WithLevel(levelOf(l)).Err(err).Str("provider", l.name).Msg("what is there cannot be used: it goes on with what it has")
	case !changed:
		l.reloads[reloadSame].Add(1)
	default:
		l.reloads[reloadLoaded].Add(1)
		g.log.Info().Str("provider", l.name).Msg("who is let in has changed")
		l.Forget()
		for _, s := range g.shards {
			s.doSoon(func(s *shard) { s.recheck(1) })
		}
	}
}

// levelOf is how bad it is that something cannot be used: a key server comes back, a file has to be mended.
func levelOf(l *link) zerolog.Level {
	if l.keys != nil {
		return zerolog.WarnLevel
	}
	return zerolog.ErrorLevel
}

// recheckStep is how many connections are looked at at a time.
const recheckStep = 1024

// recheck ends the connections of devices that came in by what has gone, from a slot on.
func (s *shard) recheck(from uint32) {
	var gone []epoll.Handle
	next := s.loop.EachFrom(from, recheckStep, func(c *epoll.Conn) {
		if w := s.devices.At(c.Slot()).who(); w != nil && !w.standing.Holds() {
			gone = append(gone, c.Handle())
		}
	})
	for _, h := range gone {
		if c := s.loop.Conn(h); c != nil && !c.Closing() {
			s.revoke(c, s.devices.At(c.Slot()))
		}
	}
	if next != 0 {
		s.doSoon(func(s *shard) { s.recheck(next) })
	}
}

// revoke ends the connection of a device that would not be let in again. One that moves is asked for it at its home, see inquired.
func (s *shard) revoke(c *epoll.Conn, d *device) {
	switch d.state {
	case stateOpening:
		d.awaits = false
		s.turnDown(c, d, refusedUnauthorized)
	case stateLive:
		s.close(c, d, reasonRevoked)
	}
}
