//go:build fault

package fault

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// contender is a connection that does not come back.
type contender struct {
	conn  net.Conn
	pongs chan struct{}
	ended chan struct{} // closed when the gateway ended it, or never let it in
}

// contend connects with a client id and a session that outlives the connection.
func contend(g *gate, id string, expirySec uint32) (*contender, error) {
	conn, err := net.DialTimeout("tcp", g.addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	c := &contender{conn: conn, pongs: make(chan struct{}, 16), ended: make(chan struct{})}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	in := bufio.NewReaderSize(conn, 512)
	if _, err = conn.Write(appendConnect(nil, id, 0, expirySec)); err == nil {
		var first byte
		var body []byte
		first, body, err = readPacket(in, nil)
		// One that loses before it is let in is told so, or just closed: both are an end.
		if err == nil && first == pConnack && len(body) > 1 && body[1] == 0 {
			_ = conn.SetDeadline(time.Time{})
			go c.read(in)
			return c, nil
		}
	}
	conn.Close()
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return nil, fmt.Errorf("no CONNACK within 30 s: %w", err)
	}
	close(c.ended)
	return c, nil
}

func dialSession(t *testing.T, g *gate, id string) *contender {
	t.Helper()
	c, err := contend(g, id, sessionSec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.conn.Close() })
	return c
}

func (c *contender) read(in *bufio.Reader) {
	defer close(c.ended)
	defer c.conn.Close()
	for buf := make([]byte, 256); ; {
		first, _, err := readPacket(in, buf)
		switch {
		case err != nil || first == pDisconnect:
			return
		case first == pPingresp:
			select {
			case c.pongs <- struct{}{}:
			default:
			}
		}
	}
}

func (c *contender) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// alive asks the gateway.
func (c *contender) alive() bool {
	if c.over() {
		return false
	}
	if _, err := c.conn.Write([]byte{pPingreq, 0}); err != nil {
		return false
	}
	select {
	case <-c.pongs:
		return true
	case <-c.ended:
	case <-time.After(10 * time.Second):
	}
	return false
}

// TestBothAtOnce: each client id connects at two gateways at the same time, again and again, while its older connection is
// still there. Each time one connection is left, and it is one of the new ones. Rounds with and without a session that stays take turns.
func TestBothAtOnce(t *testing.T) {
	ids, rounds := size(t, "FAULT_IDS", 1000, 200), size(t, "FAULT_ROUNDS", 100, 6)
	needs(t, time.Minute+time.Duration(rounds)*10*time.Second)
	x := startTopology(t, 2)
	type life struct{ old, a, b *contender }
	lives := make([]life, ids)
	t.Cleanup(func() {
		for _, l := range lives {
			if l.old != nil {
				l.old.conn.Close()
			}
		}
	})
	var longest time.Duration
	for round := range rounds {
		expiry := uint32(round%2) * sessionSec
		var all sync.WaitGroup
		open := func(g *gate, i int, to **contender) {
			defer all.Done()
			c, err := contend(g, fmt.Sprintf("both-%d", i), expiry)
			if err != nil {
				t.Errorf("round %d: %v", round, err)
				c = &contender{ended: make(chan struct{})}
				close(c.ended)
			}
			*to = c
		}
		for i := range lives {
			all.Add(2)
			go open(x.gates[0], i, &lives[i].a)
			go open(x.gates[1], i, &lives[i].b)
		}
		all.Wait()
		opened := time.Now()
		settled := within(20*time.Second, func() bool {
			for _, l := range lives {
				if l.old != nil && !l.old.over() || l.a.over() == l.b.over() {
					return false
				}
			}
			return true
		})
		longest = max(longest, time.Since(opened))
		wrong := 0
		for i := range lives {
			l := &lives[i]
			old, a, b := l.old != nil && !l.old.over(), l.a.alive(), l.b.alive()
			if (old || a == b) && wrong < 10 {
				t.Errorf("round %d, expiry %d, client %d: alive are the older connection %v, gateway-1's %v, gateway-2's %v", round, expiry, i, old, a, b)
				wrong++
			}
			if l.old = l.a; b {
				l.old = l.b
			}
		}
		if !settled || wrong > 0 {
			t.Fatalf("round %d of %d did not end with one connection for each of %d ids", round, rounds, ids)
		}
	}
	t.Logf("%d rounds of %d client ids: one connection each, at most %v after both were there", rounds, ids, longest.Round(time.Millisecond))
}
