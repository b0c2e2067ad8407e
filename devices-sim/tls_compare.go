package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// tlsRival is an echo server over TLS, in a process of its own, whose CPU time is measured.
type tlsRival struct {
	pid  int
	addr string
}

// startRival starts one on the rack.
func startRival(ctx context.Context, servers *rack, way string) (r tlsRival, err error) {
	if err := writeCertificate(servers.dir); err != nil {
		return r, err
	}
	if err := servers.start(ctx, way, exec.Command("/proc/self/exe", "tls-server", way)); err != nil {
		return r, err
	}
	s := servers.servers[len(servers.servers)-1]
	r.pid = s.cmd.Process.Pid
	said := struct{ Addr *string }{&r.addr}
	return r, json.Unmarshal([]byte(s.ready), &said)
}

// tlsWork prepares something to have the server at addr do again and again; do tells how many times it was done, and stop ends it.
type tlsWork func(addr string) (do func() (times int, err error), stop func(), err error)

// cpuOf returns the CPU time of the rival per time that the work was done.
func (r tlsRival) cpuOf(do func() (times int, err error)) (time.Duration, error) {
	before, err := processUsage(r.pid)
	if err != nil {
		return 0, err
	}
	times, err := do()
	if err != nil {
		return 0, err
	}
	after, err := processUsage(r.pid)
	return (after.CPU - before.CPU) / time.Duration(times), err
}

// duel is what a kind of work costs both rivals: the middle of all rounds.
type duel struct {
	loop, goroutines time.Duration // CPU time each time
	ratio            float64       // the middle of the ratios of the rounds
}

// compareTLS has both do the work in turn, the first of a round by turns, after one round that does not count.
func compareTLS(ctx context.Context, rounds int, work tlsWork) (d duel, err error) {
	servers, err := newRack()
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, servers.stop()) }()
	var rivals [2]tlsRival
	var does [2]func() (int, error)
	for i, way := range []string{wayLoop, wayGoroutines} {
		if rivals[i], err = startRival(ctx, servers, way); err != nil {
			return d, err
		}
		var stop func()
		if does[i], stop, err = work(rivals[i].addr); err != nil {
			return d, err
		}
		defer stop()
	}
	var costs [2][]time.Duration
	var ratios []float64
	for round := range rounds + 1 {
		if err := ctx.Err(); err != nil {
			return d, err
		}
		var cost [2]time.Duration
		for turn := range rivals {
			at := (turn + round) % len(rivals)
			if cost[at], err = rivals[at].cpuOf(does[at]); err != nil {
				return d, err
			}
		}
		if round == 0 {
			continue
		}
		costs[0], costs[1] = append(costs[0], cost[0]), append(costs[1], cost[1])
		ratios = append(ratios, float64(cost[0])/float64(cost[1]))
	}
	return duel{middle(costs[0]), middle(costs[1]), middle(ratios)}, nil
}

// middle is the median; of two in the middle the higher one.
func middle[T time.Duration | float64](all []T) T {
	slices.Sort(all)
	return all[len(all)/2]
}

// handshakes is the work of many handshakes, by parallel clients, each proven by an echo. Resumed ones are of one session of each client.
func handshakes(many, parallel int, version uint16, resumed bool) tlsWork {
	return func(addr string) (do func() (int, error), stop func(), err error) {
		configs := make([]*tls.Config, parallel)
		for i := range configs {
			configs[i] = &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version} // who the server is does not concern its cost
			if !resumed {
				continue
			}
			configs[i].ClientSessionCache = tls.NewLRUClientSessionCache(1)
			if _, err := greet(addr, configs[i]); err != nil {
				return nil, nil, err
			}
		}
		return func() (int, error) { return many, greetAll(addr, many, configs, resumed) }, func() {}, nil
	}
}

// greetAll divides many greetings among clients.
func greetAll(addr string, many int, clients []*tls.Config, resumed bool) error {
	var done atomic.Int64
	errs := make([]error, len(clients))
	var all sync.WaitGroup
	for i, config := range clients {
		all.Go(func() {
			for errs[i] == nil && done.Add(1) <= int64(many) {
				var got bool
				if got, errs[i] = greet(addr, config); errs[i] == nil && got != resumed {
					errs[i] = fmt.Errorf("resumed is %v, wanted %v", got, resumed)
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// greet connects, and ends when a byte has come back, with which a session ticket has come.
func greet(addr string, config *tls.Config) (resumed bool, err error) {
	c, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return false, err
	}
	defer closeAll([]*tls.Conn{c})
	p := make([]byte, 1)
	if _, err := c.Write(p); err != nil {
		return false, err
	}
	_, err = io.ReadFull(c, p)
	return c.ConnectionState().DidResume, err
}

// echoes is the work of messages to and fro: rounds in which each connection sends one, and then each awaits its own.
func echoes(conns, rounds, bytes int) tlsWork {
	return func(addr string) (do func() (int, error), stop func(), err error) {
		var open []*tls.Conn
		stop = func() { closeAll(open) }
		for range conns {
			c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				stop()
				return nil, nil, err
			}
			open = append(open, c)
		}
		message, answer := make([]byte, bytes), make([]byte, bytes)
		return func() (int, error) {
			for range rounds {
				for _, c := range open {
					if _, err := c.Write(message); err != nil {
						return 0, err
					}
				}
				for _, c := range open {
					if _, err := io.ReadFull(c, answer); err != nil {
						return 0, err
					}
				}
			}
			return rounds * conns, nil
		}, stop, nil
	}
}
