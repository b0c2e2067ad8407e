package gateway

import (
	"bytes"
	"strings"
	"sync/atomic"

	"github.com/tidegate/tidegate/bus"
)

// A tenant is a fleet that shares the gateway with others and knows nothing of them. Inside there is one space of names: the client id d1 of acme is
// acme/d1, its topic up is t/acme/up. Sessions, streams, retained messages, presence and bans know these names only, so that nothing in them has to know
// of tenants. They are made where something of a device comes in, and taken off where something goes out to it.
//
//	comes in:  topic_rewrite -> permissions -> prefix          goes out:  prefix off -> permissions
//
// What has not the tenant's prefix is not sent to its devices, whatever subscription it came by; and what has one is neither taken from nor sent to
// devices of no tenant.

// tenant is one of them. Its names are not changed once made, so safe from any goroutine.
type tenant struct {
	name   string
	number int    // from 1, in the order of the configuration
	id     string // before client ids: name/
	prefix string // before topics: levels, and a slash

	connectionsMax   int64
	subscriptionsMax int64
	retainedMax      int
	retainedBytesMax int64
	rate             rate  // of connects
	sends            crowd // what its devices send
	deliver          rate  // of messages to its devices
	delivered        sharedCell
	queued           account
	open             atomic.Int64
	subscriptions    atomic.Int64
	came             sharedCell
	retained         atomic.Int64 // topics with a retained message; changed under the lock of their store
	retainedBytes    atomic.Int64 // of these; likewise
	refused          [tenantLimits]atomic.Uint64
}

// tenants are all of a gateway. Not changed once made; nil: there are none.
type tenants struct {
	all      []*tenant // in the order of the configuration
	byName   map[string]*tenant
	byHost   map[string]*tenant // server names; those that begin with *. stand for any first label
	byPrefix map[string]*tenant
	depths   []int // how many levels there are prefixes of
	rules    []tenantRule
}

// tenantRule says whose a user or a certificate is.
type tenantRule struct {
	of                      *tenant
	user, org, unit, issuer string
}

// newTenants returns nil when none are configured.
func newTenants(c *Config) *tenants {
	if len(c.Tenants) == 0 {
		return nil
	}
	x := &tenants{byName: map[string]*tenant{}, byHost: map[string]*tenant{}, byPrefix: map[string]*tenant{}}
	seen := map[int]bool{}
	for i := range c.Tenants {
		o := &c.Tenants[i]
		t := &tenant{
			name: o.Name, number: i + 1, id: o.Name + "/", prefix: o.prefix(),
			connectionsMax: int64(o.ConnectionsMax), subscriptionsMax: int64(o.SubscriptionsMax), retainedMax: o.RetainedMax,
			rate: newRate(o.ConnectRate, max(o.ConnectBurst, 1)), retainedBytesMax: int64(o.RetainedBytesMax),
			sends: newCrowd(o.PacketRate, o.ByteRate, c.Limits.RateBurst), deliver: bursts(o.DeliverRate, c.Limits.RateBurst),
			queued: account{bytesMax: int64(o.QueueBytesMax)},
		}
		x.all, x.byName[t.name], x.byPrefix[t.prefix] = append(x.all, t), t, t
		for host := range strings.FieldsSeq(strings.ToLower(o.Hosts)) {
			x.byHost[host] = t
		}
		x.rules = append(x.rules, tenantRule{of: t, user: o.Users, org: o.CertOrganization, unit: o.CertUnit, issuer: o.CertIssuer})
		if depth := strings.Count(t.prefix, "/"); !seen[depth] {
			seen[depth], x.depths = true, append(x.depths, depth)
		}
	}
	return x
}

// ofHost is the tenant with a server name; nil: none.
func (x *tenants) ofHost(name string) *tenant {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if t := x.byHost[name]; t != nil {
		return t
	}
	if _, rest, more := strings.Cut(name, "."); more {
		return x.byHost["*."+rest]
	}
	return nil
}

// ofUser is the tenant whose pattern a user matches; nil: none. two: those of several do.
func (x *tenants) ofUser(user string) (of *tenant, two bool) {
	for i := range x.rules {
		if r := &x.rules[i]; r.user != "" && matchesPattern(r.user, user) {
			two = two || of != nil
			of = r.of
		}
	}
	return of, two
}

// ofTopic is the tenant that an internal topic or filter belongs to; nil: none.
func (x *tenants) ofTopic(topic string) *tenant {
	for _, depth := range x.depths {
		end := 0
		for range depth {
			i := strings.IndexByte(topic[end:], '/')
			if i < 0 {
				end = -1
				break
			}
			end += i + 1
		}
		if end > 0 {
			if t := x.byPrefix[topic[:end]]; t != nil {
				return t
			}
		}
	}
	return nil
}

// ofClient is the tenant of an internal client id; nil: none. x may be nil.
func (x *tenants) ofClient(id string) *tenant {
	if x == nil {
		return nil
	}
	name, _, more := strings.Cut(id, "/")
	if !more {
		return nil
	}
	return x.byName[name]
}

// ownID is a client id as its device knows it. x may be nil.
func (x *tenants) ownID(id string) string {
	if t := x.ofClient(id); t != nil {
		return id[len(t.id):]
	}
	return id
}

// holds tells whether a topic or filter is, as a whole or in part, one of some tenant although it is written with its prefix: one that stands for
// more levels is looked at message by message.
func (x *tenants) holds(topic []byte) bool { return x.ofTopic(borrowed(topic)) != nil }

// has tells whether an internal topic is one of the tenant's that its devices may see: what is reserved is so within a prefix, too.
func (t *tenant) has(topic []byte) bool {
	rest, ours := bytes.CutPrefix(topic, []byte(t.prefix))
	return ours && len(rest) > 0 && rest[0] != '$' && !bus.Reserved(rest)
}

// topicOut is a topic or filter, without a group, as devices of the tenant know it. t may be nil.
func (t *tenant) topicOut(topic []byte) []byte {
	if t == nil {
		return topic
	}
	return bytes.TrimPrefix(topic, []byte(t.prefix))
}

// filterOut is a filter as devices of the tenant know it, with its group. t may be nil.
func (t *tenant) filterOut(filter string) string {
	if t == nil {
		return filter
	}
	group, plain := cutGroup(filter)
	return group + strings.TrimPrefix(plain, t.prefix)
}

// filterIn is a filter of a device as it is known inside. t may be nil.
func (t *tenant) filterIn(filter string) string {
	if t == nil {
		return filter
	}
	group, plain := cutGroup(filter)
	return group + t.prefix + plain
}

// cutGroup parts $share/GROUP/ from the filter behind it.
func cutGroup(filter string) (group, plain string) {
	const share = "$share/"
	if !strings.HasPrefix(filter, share) {
		return "", filter
	}
	if i := strings.IndexByte(filter[len(share):], '/'); i >= 0 {
		return filter[:len(share)+i+1], filter[len(share)+i+1:]
	}
	return "", filter
}

// idOut is a client id as its device knows it. t may be nil.
func (t *tenant) idOut(id string) string {
	if t == nil {
		return id
	}
	return strings.TrimPrefix(id, t.id)
}

// idIn is a device's client id as it is known inside. t may be nil.
func (t *tenant) idIn(id []byte) []byte {
	if t == nil {
		return id
	}
	return append([]byte(t.id), id...)
}

// prefixes are those of all tenants. x may be nil.
func (x *tenants) prefixes() (all []string) {
	if x == nil {
		return nil
	}
	for _, t := range x.all {
		all = append(all, t.prefix)
	}
	return all
}

// reached tells whether a filter stands for topics of some tenant.
func (x *tenants) reached(filter string) bool {
	for _, t := range x.all {
		if reaches(filter, t.prefix) {
			return true
		}
	}
	return false
}

// reaches tells whether a filter stands for topics that begin with a prefix.
func reaches(filter, prefix string) bool {
	for prefix != "" {
		level, rest, more := strings.Cut(filter, "/")
		want, after, _ := strings.Cut(prefix, "/")
		switch {
		case level == "#":
			return true
		case !more || level != "+" && level != want:
			return false
		}
		filter, prefix = rest, after
	}
	return true
}
