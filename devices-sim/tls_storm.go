package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

// stormed is what a storm of handshakes did.
type stormed struct {
	Done   int   `json:"done"`
	Failed int   `json:"failed"`
	Nanos  int64 `json:"nanos"` // from the first hello to the end of the last handshake
}

func (s stormed) String() string {
	return fmt.Sprint(s.Done, ", ", s.Failed, ", ", time.Duration(s.Nanos).Round(10*time.Millisecond))
}

// runTLSStorm is the life of a process that connects many times, waits for a line, and then does all handshakes at once.
func runTLSStorm(addr string, many int, in io.Reader, out io.Writer) error {
	conns := make([]net.Conn, many)
	for i := range conns {
		c, err := net.DialTimeout("tcp", addr, time.Minute)
		if err != nil {
			return err
		}
		conns[i] = c
	}
	fmt.Fprintln(out, "ready")
	if _, err := bufio.NewReader(in).ReadString('\n'); err != nil {
		return err
	}
	var failed atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for _, c := range conns {
		all.Go(func() {
			_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
			if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake(); err != nil {
				failed.Add(1)
			}
		})
	}
	all.Wait()
	nanos := time.Since(began).Nanoseconds()
	lost := int(failed.Load())
	if err := json.NewEncoder(out).Encode(stormed{many - lost, lost, nanos}); err != nil {
		return err
	}
	// That they end is not part of the storm: the parent says when.
	_, _ = in.Read(make([]byte, 1))
	closeAll(conns)
	return nil
}

// shakeAll has a process do it that runs only where nobody else wants to, and returns what it did. It calls begin before the first hello and end after
// the last handshake.
func shakeAll(addr string, many int, begin, end func()) (s stormed, err error) {
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	cmd := exec.Command(self, "tls-storm", addr, fmt.Sprint(many))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return s, err
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return s, err
	}
	if err := startLast(cmd); err != nil {
		return s, err
	}
	out := bufio.NewReader(pipe)
	_, err = out.ReadString('\n')
	if err == nil {
		begin()
		_, err = in.Write([]byte("\n"))
	}
	if err == nil {
		err = json.NewDecoder(out).Decode(&s)
	}
	end()
	return s, errors.Join(err, in.Close(), cmd.Wait())
}

// stormConfig has patience with connections that wait for their handshake.
const stormConfig = `limits: {connect_time: 2m, per_address: {exempt: [127.0.0.0/8]}}
`

// calm is the time before a storm, in which the delays are those of every day.
const calm = 10 * time.Second

// stormFigure is one round: the delays before any storm, and those in a storm of the gateway's own and in one of somebody else's.
type stormFigure struct {
	before       tail
	ours, theirs stormed
	inOurs       tail
	inTheirs     tail
}

// storms has a gateway stand some storms, and a server of crypto/tls beside it as many of the same.
func (f *tlsFigures) storms(ctx context.Context, rounds, many, talking int) (all []stormFigure, err error) {
	beside, err := newRack()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, beside.stop()) }()
	rival, err := startRival(ctx, beside, wayGoroutines)
	if err != nil {
		return nil, err
	}
	g, err := besiege(ctx, f.yard, stormConfig)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.stop()) }()
	// The servers have been started: they do not inherit it.
	if err := stepBack(); err != nil {
		return nil, err
	}
	t, err := startTalkers(g, talking, f.out)
	if err != nil {
		return nil, err
	}
	defer t.stop()
	for range rounds {
		var s stormFigure
		t.listen()
		wait(ctx, calm)
		if s.before, err = t.heard(); err != nil || ctx.Err() != nil {
			return nil, errors.Join(err, ctx.Err())
		}
		if s.ours, s.inOurs, err = t.through(fmt.Sprint("127.0.0.1:", g.doors.MQTTS), many); err != nil {
			return nil, err
		}
		wait(ctx, calm/2)
		if s.theirs, s.inTheirs, err = t.through(rival.addr, many); err != nil {
			return nil, err
		}
		all = append(all, s)
		wait(ctx, calm/2)
	}
	return all, nil
}

// through is one storm, from its first hello to the end of the last handshake.
func (t *talkers) through(addr string, many int) (s stormed, during tail, err error) {
	var deaf error
	s, err = shakeAll(addr, many, t.listen, func() { during, deaf = t.heard() })
	return s, during, errors.Join(err, deaf)
}
