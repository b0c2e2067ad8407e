package gateway

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"
	"strings"

	"github.com/tidegate/tidegate/session"
)

// A message of a shared subscription comes by way of a NATS queue group to one gateway. There its strategy is followed twice: the shard is
// chosen here, by what each shard says of its members, and the member by the shard's table (session.Group). Least in flight is followed within the
// shard only; among shards it is turns, weighted by live members, since asking all shards for each message would cost more than it
// gains.

// sharedStrategies is Config.MQTT.SharedStrategy and SharedGroups.
type sharedStrategies struct {
	usual session.Strategy
	named map[string]session.Strategy // by the name between $share/ and the filter
}

// of is the strategy of a group.
func (x *sharedStrategies) of(group string) session.Strategy {
	if y, ok := x.named[group]; ok {
		return y
	}
	return x.usual
}

// newSharedStrategies reads a configuration that was validated.
func newSharedStrategies(c *MQTT) sharedStrategies {
	x := sharedStrategies{named: map[string]session.Strategy{}}
	x.usual, _ = session.ParseStrategy(c.SharedStrategy)
	for _, entry := range c.SharedGroups {
		if group, y, err := parseSharedGroup(entry); err == nil {
			x.named[group] = y
		}
	}
	return x
}

// parseSharedGroup reads GROUP=STRATEGY. The name may have = in it.
func parseSharedGroup(entry string) (group string, y session.Strategy, err error) {
	at := strings.LastIndexByte(entry, '=')
	if at < 0 {
		return "", 0, fmt.Errorf("%q is not GROUP=STRATEGY", entry)
	}
	group = entry[:at]
	y, ok := session.ParseStrategy(entry[at+1:])
	switch {
	case !ok:
		return "", 0, fmt.Errorf("strategy %q of group %q is none of %s", entry[at+1:], group, strategyList())
	case group == "":
		return "", 0, errors.New("the group has no name")
	case strings.ContainsAny(group, "/+#\x00"):
		return "", 0, fmt.Errorf("%q cannot be the name of a group: it has one of / + # in it", group)
	}
	return group, y, nil
}

// strategyList is the strategies, for a person.
func strategyList() string {
	names := make([]string, session.Strategies)
	for y := range session.Strategies {
		names[y] = y.String()
	}
	return strings.Join(names, ", ")
}

// validateShared checks how shared subscriptions choose.
func (c *Config) validateShared(v *validator) {
	if _, ok := session.ParseStrategy(c.MQTT.SharedStrategy); !ok {
		v.add("mqtt.shared_strategy", fmt.Sprintf("%q is none of %s", c.MQTT.SharedStrategy, strategyList()), "")
	}
	seen := map[string]int{}
	for i, entry := range c.MQTT.SharedGroups {
		path := fmt.Sprintf("mqtt.shared_groups[%d]", i)
		group, _, err := parseSharedGroup(entry)
		if err != nil {
			v.add(path, err.Error(), "an entry such as workers=least-inflight, for $share/workers/...")
			continue
		}
		if first, twice := seen[group]; twice {
			v.add(path, fmt.Sprintf("group %q has a strategy in mqtt.shared_groups[%d] already", group, first), "keep one of them")
		}
		seen[group] = i
	}
}

// groupKey is session.Message.GroupKey. A backend has no client id, so that its messages go by topic with both strategies.
func groupKey(y session.Strategy, topic, client []byte) uint32 {
	switch {
	case !y.Hashes():
		return 0
	case y == session.HashClient && len(client) > 0:
		return uint32(maphash.Bytes(homeSeed, client))
	}
	return uint32(maphash.Bytes(homeSeed, topic))
}

// choose is the shard that takes a message of this group: one with live members, or with any while none is live; ok is false when
// there are no members. The registry's lock is held.
func (e *interest) choose(key uint32) (shard int16, ok bool) {
	counts, total := e.live, sum(e.live)
	if total == 0 {
		counts, total = e.members, sum(e.members)
	}
	switch {
	case total == 0:
		return 0, false
	case e.strategy.Hashes():
		return heaviest(key, counts), true
	case e.strategy == session.Sticky && counts[e.sticky] > 0:
		return e.sticky, true
	}
	e.rotation++
	e.sticky = memberAt(e.rotation%total, counts)
	return e.sticky, true
}

func sum(counts []int32) (total uint32) {
	for _, n := range counts {
		total += uint32(n)
	}
	return total
}

// memberAt is the shard of the member with this number when all are counted through.
func memberAt(at uint32, counts []int32) int16 {
	for i, n := range counts {
		if at < uint32(n) {
			return int16(i)
		}
		at -= uint32(n)
	}
	return int16(len(counts) - 1)
}

// heaviest is the shard that a key belongs to: each draws a number that depends on the key and is weighted by its members, and the
// highest wins (weighted rendezvous). When the members of a shard change, only keys to it or from it move.
func heaviest(key uint32, counts []int32) (shard int16) {
	most := -1.0
	for i, n := range counts {
		if n <= 0 {
			continue
		}
		high, low := bits.Mul64(uint64(key)^0x9E3779B97F4A7C15, uint64(i+1)*0xD6E8FEB86659FD93)
		drawn := (float64((high^low)>>11) + 0.5) / (1 << 53) // between 0 and 1
		if score := float64(n) / -math.Log(drawn); score > most {
			shard, most = int16(i), score
		}
	}
	return shard
}
