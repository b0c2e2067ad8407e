package gateway

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/gateway/ws"
)

// TestWorkIsShared: however many connections have much to do at once, a tick is hardly more work than one of them may be; all of it is done.
func TestWorkIsShared(t *testing.T) {
	t.Parallel()
	const senders, messages, filters = 10, 500, 100
	r := start(t, memoryOnly, unrecorded, func(c *Config) { c.Loops = 1 })
	sub := r.connect(mqtt.V5, "sub")
	var list []mqtt.Filter
	for i := range filters {
		levels := strings.Split("a/b/c/d/e/f/g/h", "/")
		for bit := range levels {
			if i&(1<<bit) != 0 {
				levels[bit] = "+"
			}
		}
		list = append(list, mqtt.Filter{Topic: []byte(strings.Join(levels, "/"))})
	}
	sub.subscribeTo(9, list...)
	burst := bytes.Repeat(mqtt.AppendPublish(nil, mqtt.V311, &mqtt.PublishOut{Topic: []byte("a/b/c/d/e/f/g/h")}), messages)
	begin := make(chan struct{})
	r.gw.tellShard(r.gw.shards[0], func(*shard) { <-begin })
	for i := range senders {
		c := r.open(mqtt.V311, r.mqtt)
		c.write(append(mqtt.AppendConnect(nil, mqtt.V311, &mqtt.ConnectOut{ClientID: fmt.Append(nil, "busy", i), CleanStart: true}), burst...))
	}
	close(begin)
	for range senders * messages {
		sub.message()
	}
	if most, bound := r.sum().workMost, workMax+senders*(workLeast+10*filters); most > bound || most < workMax {
		t.Errorf("a tick of %d work, want %d to %d", most, workMax, bound)
	}
}

// TestInflatingIsShared: however many devices have a few bytes inflated to much at once, a tick inflates no more than a step of one of them beside what fits into
// its work; all of it arrives, and what is too much is refused.
func TestInflatingIsShared(t *testing.T) {
	t.Parallel()
	const senders = 10
	r := start(t, compressing, memoryOnly, unrecorded, func(c *Config) { c.Loops = 1 })
	up := r.backend(r.nats(), "devices.*.up")
	whole, bomb := pressed(t, strings.Repeat("x", 900<<10)), pressed(t, strings.Repeat("x", 8<<20))
	var devices []*client
	for i := range senders {
		devices = append(devices, r.openDeflate(fmt.Sprint("/ws/busy", i), ""))
	}
	begin := make(chan struct{})
	r.gw.tellShard(r.gw.shards[0], func(*shard) { <-begin })
	for _, d := range devices {
		if _, err := d.conn.Write([]byte(whole + pressed(t, "short") + bomb)); err != nil {
			t.Fatal(err)
		}
	}
	close(begin)
	r.eventually("all that is allowed", func() bool { return len(up.all()) == 2*senders })
	for _, d := range devices {
		if _, code := d.end(); code != ws.TooBig {
			t.Errorf("closed with %v", code)
		}
	}
	const step = workPerUnit * (inflateUnits + shortInflated/32)
	if most := r.sum().workMost; most > 2*workMax+2*step || most < workMax {
		t.Errorf("a tick of %d work, want %d to %d", most, workMax, 2*workMax+2*step)
	}
	r.eventually("nothing is under way", func() bool { return r.inflating() == 0 })
}

// inflating is how many messages are being inflated in steps.
func (r *rig) inflating() (n int) {
	for _, s := range r.gw.shards {
		done := make(chan struct{})
		r.gw.tellShard(s, func(s *shard) {
			if s.deflate.of != 0 {
				n++
			}
			close(done)
		})
		<-done
	}
	return n
}

// TestFiltersArePaced: many filters in few packets are held to the rate of packets, too.
func TestFiltersArePaced(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, unrecorded, func(c *Config) { c.Limits.PacketRate, c.Limits.RateBurst = 200, time.Second })
	c := r.connect(mqtt.V5, "asks")
	var filters []mqtt.Filter
	for i := range 256 {
		filters = append(filters, mqtt.Filter{Topic: fmt.Append(nil, "f/", i)})
	}
	const packets = 14 // of 17 each
	var out []byte
	for i := range packets {
		out = mqtt.AppendSubscribe(out, c.v, uint16(1+i), filters, 0)
	}
	c.write(out)
	for range packets {
		c.expect(mqtt.TypeSuback)
	}
	if n := r.sum().rests; n == 0 {
		t.Error("3,584 filters at once are within a rate of 200 packets a second")
	}
}
