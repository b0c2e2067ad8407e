package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// Attackers are a process of their own, which gets the processor when nobody else wants it: they stand for other machines, which would not
// take the gateway's. They use plain sockets and a goroutine each, so that they can do what no device would.

// siege is what attackers are told: the first thing on their standard input, whose end is theirs.
type siege struct {
	Doors     doors
	Attacks   []string // dealt over the attackers in turn
	Attackers int
	Seed      uint64
}

// spoils is what attackers tell at their end.
type spoils struct {
	Lives  uint64 `json:"lives"`  // connections that were made
	Failed uint64 `json:"failed"` // and those that were not
	Bytes  uint64 `json:"bytes"`  // written
}

// attacker is one bad actor. Owned by its goroutine.
type attacker struct {
	ctx    context.Context
	rng    *rand.Rand
	doors  *doors
	number int
	life   int    // connections so far
	from   net.IP // where they come from
	tally  *tally
}

// tally is what all attackers of a process did. Safe from any goroutine.
type tally struct{ lives, failed, bytes atomic.Uint64 }

// attackersAddress is where attackers come from, unless an attack comes from everywhere.
var attackersAddress = net.IPv4(127, 250, 0, 1)

// Pauses between two connections of an attacker: after one that came to something, and after one that did not.
const (
	attackPause = 5 * time.Millisecond
	defeatPause = 50 * time.Millisecond
)

// runSiege attacks until ctx ends.
func runSiege(ctx context.Context, s *siege) (spoils, error) {
	var t tally
	var all sync.WaitGroup
	for i := range s.Attackers {
		attack, err := findAttack(s.Attacks[i%len(s.Attacks)])
		if err != nil {
			return spoils{}, err
		}
		a := &attacker{ctx: ctx, rng: rand.New(rand.NewPCG(s.Seed, uint64(i))), doors: &s.Doors, number: i, from: attackersAddress, tally: &t}
		all.Go(func() { a.attack(attack) })
	}
	all.Wait()
	return spoils{t.lives.Load(), t.failed.Load(), t.bytes.Load()}, nil
}

// attack lives the attack again and again.
func (a *attacker) attack(k *attack) {
	for a.ctx.Err() == nil {
		pause := attackPause
		if err := k.live(a); err != nil {
			pause = defeatPause
		}
		a.life++
		a.rest(pause)
	}
}

// rest waits for d, or for the end.
func (a *attacker) rest(d time.Duration) { wait(a.ctx, d) }

// runAttackers is the life of a process of attackers.
func runAttackers(in io.Reader, out io.Writer) error {
	dec := json.NewDecoder(in)
	var s siege
	if err := dec.Decode(&s); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, in) // until the parent has had enough, or is gone
		stop()
	}()
	got, err := runSiege(ctx, &s)
	return errors.Join(err, json.NewEncoder(out).Encode(got))
}

// besiegers is the parent's end of such a process, or of what stands for it in a test.
type besiegers struct {
	end  func()
	told chan error // when got is there
	got  spoils
}

// spawnAttackers starts a process of attackers.
func spawnAttackers(s *siege) (*besiegers, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "attackers")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := startLast(cmd); err != nil {
		return nil, err
	}
	b := &besiegers{end: func() { _ = in.Close() }, told: make(chan error, 1)}
	if err := json.NewEncoder(in).Encode(s); err != nil {
		return nil, errors.Join(err, in.Close(), cmd.Wait())
	}
	go func() {
		err := json.NewDecoder(out).Decode(&b.got)
		b.told <- errors.Join(err, cmd.Wait())
	}()
	return b, nil
}

// link is an attacker's connection. Owned by its goroutine, but for gone.
type link struct {
	net.Conn
	a      *attacker
	framed bool // MQTT in WebSocket frames
	v      mqtt.Version
	gone   chan struct{} // closed when listen has seen the end
	off    func() bool
}

// linkTime is how long an attacker waits for what it needs to go on with.
const linkTime = 10 * time.Second

// dial opens a connection without a word; it ends with the attack.
func (a *attacker) dial(port int) (*link, error) {
	d := net.Dialer{Timeout: linkTime, LocalAddr: &net.TCPAddr{IP: a.from}}
	c, err := d.DialContext(a.ctx, "tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		a.tally.failed.Add(1)
		return nil, err
	}
	a.tally.lives.Add(1)
	_ = c.(*net.TCPConn).SetLinger(0) // RST: no port waits for anybody
	return &link{Conn: c, a: a, v: mqtt.V5, off: context.AfterFunc(a.ctx, func() { c.Close() })}, nil
}

// Write is that of the connection, counted, and in pieces: a kernel that does not preempt itself has everybody wait for a write, and an
// attacker's is of another machine.
func (l *link) Write(p []byte) (n int, err error) {
	for err == nil && n < len(p) {
		var k int
		k, err = l.Conn.Write(p[n:min(len(p), n+writePiece)])
		n += k
	}
	l.a.tally.bytes.Add(uint64(n))
	return n, err
}

// writePiece is what attackers write at once.
const writePiece = 4 << 10

// end ends the connection.
func (l *link) end() {
	l.off()
	l.Conn.Close()
}

// secure makes it TLS, by a handshake.
func (l *link) secure(mods ...func(c *tls.Config)) error {
	config := &tls.Config{InsecureSkipVerify: true} // an attacker does not care who it is
	for _, mod := range mods {
		mod(config)
	}
	c := tls.Client(l.Conn, config)
	_ = c.SetDeadline(time.Now().Add(linkTime))
	if err := c.HandshakeContext(l.a.ctx); err != nil {
		return err
	}
	l.Conn = c
	return c.SetDeadline(time.Time{})
}

// upgrade does the handshake of a WebSocket.
func (l *link) upgrade(path, subprotocol string, headers ...[2]string) error {
	var key [16]byte
	if _, err := l.Write(ws.AppendHandshake(nil, "127.0.0.1", path, subprotocol, key, headers...)); err != nil {
		return err
	}
	_ = l.SetReadDeadline(time.Now().Add(linkTime))
	for p := []byte(nil); ; {
		var some [1024]byte
		n, err := l.Read(some[:])
		if err != nil {
			return err
		}
		p = append(p, some[:n]...)
		switch n := len(p); {
		case n > 12 && string(p[9:12]) != "101":
			return fmt.Errorf("HTTP %s", p[9:12])
		case n > 4 && string(p[n-4:]) == "\r\n\r\n":
			l.framed = subprotocol == "mqtt"
			return l.SetReadDeadline(time.Time{})
		}
	}
}

// say writes MQTT bytes, in a frame where there are frames.
func (l *link) say(p []byte) error {
	if l.framed {
		p = l.frame(ws.OpBinary, p)
	}
	_, err := l.Write(p)
	return err
}

// frame is a masked frame.
func (l *link) frame(op ws.Op, p []byte) []byte {
	var mask [4]byte
	binary.LittleEndian.PutUint32(mask[:], l.a.rng.Uint32())
	return ws.AppendMasked(nil, op, p, mask)
}

// connect sends CONNECT and waits until the answer has come.
func (l *link) connect(id string, mods ...func(c *mqtt.ConnectOut)) error {
	out := mqtt.ConnectOut{ClientID: []byte(id), CleanStart: true, KeepAliveSec: 60}
	for _, mod := range mods {
		mod(&out)
	}
	if err := l.say(mqtt.AppendConnect(nil, l.v, &out)); err != nil {
		return err
	}
	_ = l.SetReadDeadline(time.Now().Add(linkTime))
	var answer [4]byte
	if _, err := io.ReadFull(l, answer[:]); err != nil {
		return err
	}
	return l.SetReadDeadline(time.Time{})
}

// hangUp tells the other side that nothing more comes.
func (l *link) hangUp() {
	c := l.Conn
	if t, ok := c.(*tls.Conn); ok {
		_ = t.CloseWrite() // where it fails, the connection has ended
		c = t.NetConn()
	}
	_ = c.(*net.TCPConn).CloseWrite()
}

// listen reads and forgets, until the end.
func (l *link) listen() {
	l.gone = make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, l.Conn)
		l.Conn.Close()
		close(l.gone)
	}()
}

// wait waits for the end of the connection; listen has been called.
func (l *link) wait() { <-l.gone }

// device is a connected device of the attacker, over a way that changes with every life, with a client id of its own.
func (a *attacker) device(mods ...func(c *mqtt.ConnectOut)) (*link, error) {
	l, err := a.way(a.life + a.number)
	if err != nil {
		return nil, err
	}
	if err := l.connect(a.id(), mods...); err != nil {
		l.end()
		return nil, err
	}
	return l, nil
}

// id is the attacker's client id.
func (a *attacker) id() string { return fmt.Sprint("bad-", a.number) }

// way is a connection over which MQTT may be spoken: over TCP, WebSocket or TLS.
func (a *attacker) way(n int) (l *link, err error) {
	ports := [...]int{a.doors.MQTT, a.doors.WS, a.doors.Any, a.doors.MQTTS, a.doors.WSS}
	n %= len(ports)
	if l, err = a.dial(ports[n]); err != nil {
		return nil, err
	}
	if n >= 3 {
		err = l.secure()
	}
	if n == 1 || n == 4 {
		err = errors.Join(err, l.upgrade("/mqtt", "mqtt"))
	}
	if err != nil {
		l.end()
		return nil, err
	}
	return l, nil
}

// again calls f until it fails or the attack ends.
func (l *link) again(f func(i int) error) error {
	for i := 0; l.a.ctx.Err() == nil; i++ {
		if err := f(i); err != nil {
			return err
		}
	}
	return nil
}
