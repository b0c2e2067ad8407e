package gateway

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/epoll"
	"github.com/tidegate/tidegate/session"
)

// Version is told under $SYS/broker/version. The command sets it before New.
var Version = "devel"

// sysPrefix begins the topics that the gateway itself publishes about itself, as operators of MQTT brokers know them. They are
// for devices of this gateway only: towards NATS the same figures are metrics, and devices can't publish to them.
const sysPrefix = "$SYS/"

// sysTopicsMax and sysBytesMax bound what is kept of them; there are about 60.
const (
	sysTopicsMax = 256
	sysBytesMax  = 64 << 10
)

// sysTopics keeps the current values, as retained messages, and tells subscribers what changed. Owned by the goroutine of run;
// what is kept is read by the shards.
type sysTopics struct {
	g        *Gateway
	kept     retainedStore
	interval time.Duration
	began    time.Time
	before   snapshot // what the last round saw
	maximum  int64    // live devices
	heapMax  uint64
	loads    [sysLoads][len(sysMinutes)]float64
	round    *batch // what changed in this round
}

func newSysTopics(g *Gateway) *sysTopics {
	y := &sysTopics{g: g, interval: g.cfg.MQTT.SysInterval, began: time.Now()}
	y.kept.max, y.kept.bytesMax = sysTopicsMax, sysBytesMax
	return y
}

// run publishes every interval until ctx ends.
func (y *sysTopics) run(ctx context.Context) {
	if y.interval == 0 {
		return
	}
	tick := time.NewTicker(y.interval)
	defer tick.Stop()
	for {
		y.publish(time.Since(y.began))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// publish takes one look at the gateway and tells what changed since the last one.
func (y *sysTopics) publish(up time.Duration) {
	all, ok := y.g.snapshots()
	if !ok && up > y.interval {
		return // a loop is busy: half a truth would look like a fall in every figure
	}
	var now snapshot
	for i := range all {
		now.add(&all[i])
	}
	y.round = y.g.downPool.take()
	y.tell(&now, up)
	y.before = now
	b := y.round
	y.round = nil
	if b.Len() == 0 {
		b.refs.Store(1)
		b.release()
		return
	}
	b.refs.Store(int32(len(y.g.shards)))
	for _, s := range y.g.shards {
		y.g.putNote(s, note{batch: b}, b.release)
	}
}

// set gives a topic its value; subscribers hear of it when it is another one than before.
func (y *sysTopics) set(topic, value string) {
	full := sysPrefix + "broker/" + topic
	if old := y.kept.get(full); old != nil && string(old.payload) == value {
		return
	}
	m := session.Message{Topic: []byte(full), Payload: []byte(value), Retain: true}
	y.kept.set(epoll.NowSec(), &m)
	y.round.add(&m)
}

func (y *sysTopics) count(topic string, n uint64) { y.set(topic, strconv.FormatUint(n, 10)) }

// retainedFor is the store that holds the retained messages which filter may match.
func (g *Gateway) retainedFor(filter string) *retainedStore {
	if strings.HasPrefix(filter, sysPrefix) {
		return &g.sys.kept
	}
	return &g.retained
}
