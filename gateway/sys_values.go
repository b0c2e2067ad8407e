package gateway

import (
	"math"
	"runtime/metrics"
	"strconv"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// sysMinutes are the averages of $SYS/broker/load: exponentially damped, events a minute, like the load of a Unix machine.
var sysMinutes = [...]struct {
	label   string
	minutes float64
}{{"1min", 1}, {"5min", 5}, {"15min", 15}}

// sysLoad names what has a load average.
const (
	loadMessagesReceived = iota
	loadMessagesSent
	loadBytesReceived
	loadBytesSent
	loadPublishReceived
	loadPublishSent
	loadPublishDropped
	loadConnections
	loadSockets
	sysLoads
)

var sysLoadTopics = [sysLoads]string{
	"messages/received", "messages/sent", "bytes/received", "bytes/sent",
	"publish/received", "publish/sent", "publish/dropped", "connections", "sockets",
}

// tell sets every topic from what the shards count.
func (y *sysTopics) tell(now *snapshot, up time.Duration) {
	y.set("version", "tidegate "+Version)
	y.set("uptime", strconv.FormatInt(int64(up.Seconds()), 10)+" seconds")
	y.set("node", y.g.cfg.Node)
	y.clients(now)
	y.traffic(now)
	topics, bytes := y.g.retained.size()
	y.count("retained messages/count", uint64(topics))
	y.count("subscriptions/count", uint64(now.filters))
	y.count("messages/stored", uint64(now.queued+topics))
	y.count("store/messages/count", uint64(now.queued+topics))
	y.count("store/messages/bytes", uint64(now.queuedBytes+bytes))
	heap := heapBytes()
	y.heapMax = max(y.heapMax, heap)
	y.count("heap/current", heap)
	y.count("heap/maximum", y.heapMax)
	y.load(now)
}

func (y *sysTopics) clients(now *snapshot) {
	var live int64
	for kind, n := range now.live {
		if liveKind(kind) != liveEcho {
			live += n
		}
	}
	y.maximum = max(y.maximum, live)
	away := max(0, now.sessions-now.sessionsLive)
	y.count("clients/connected", uint64(max(0, live)))
	y.count("clients/active", uint64(max(0, live)))
	y.count("clients/disconnected", uint64(away))
	y.count("clients/inactive", uint64(away))
	y.count("clients/total", uint64(now.sessions))
	y.count("clients/maximum", uint64(y.maximum))
	y.count("clients/expired", now.expired)
}

func (y *sysTopics) traffic(now *snapshot) {
	f := sysFigures(now)
	y.count("messages/received", f[loadMessagesReceived])
	y.count("messages/sent", f[loadMessagesSent])
	y.count("bytes/received", f[loadBytesReceived])
	y.count("bytes/sent", f[loadBytesSent])
	y.count("publish/messages/received", f[loadPublishReceived])
	y.count("publish/messages/sent", f[loadPublishSent])
	y.count("publish/messages/dropped", f[loadPublishDropped])
	y.count("publish/bytes/received", now.payloadIn)
	y.count("publish/bytes/sent", now.payloadOut)
}

// load moves the averages on by one interval.
func (y *sysTopics) load(now *snapshot) {
	was, is := sysFigures(&y.before), sysFigures(now)
	interval := y.interval.Minutes()
	for i, topic := range sysLoadTopics {
		rate := float64(is[i]-was[i]) / interval
		for j, m := range sysMinutes {
			keep := math.Exp(-interval / m.minutes)
			y.loads[i][j] = rate + keep*(y.loads[i][j]-rate)
			y.set("load/"+topic+"/"+m.label, strconv.FormatFloat(y.loads[i][j], 'f', 2, 64))
		}
	}
}

// sysFigures are the counters that the load averages follow.
func sysFigures(s *snapshot) (f [sysLoads]uint64) {
	for t := range s.packetsIn {
		f[loadMessagesReceived] += s.packetsIn[t]
		f[loadMessagesSent] += s.packetsOut[t]
	}
	for q := range s.messagesIn {
		f[loadPublishReceived] += s.messagesIn[q]
		f[loadPublishSent] += s.messagesOut[q]
	}
	for _, n := range s.drops {
		f[loadPublishDropped] += n
	}
	f[loadBytesReceived], f[loadBytesSent] = s.loop.ReadBytes, s.loop.WriteBytes
	f[loadConnections] = s.packetsIn[mqtt.TypeConnect] + s.upgrades
	f[loadSockets] = s.opened
	return f
}

// heapBytes is the memory of live objects and of those not yet swept.
func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
