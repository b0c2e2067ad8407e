package gateway

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
	"github.com/tidegate/tidegate/session"
)

// TestListenerTopics: topics, filters and packets are held to the bounds of the listener through which they come.
func TestListenerTopics(t *testing.T) {
	t.Parallel()
	r := bounded(t, "topic_levels_max=2&topic_bytes_max=10&filters_max=2", memoryOnly)
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		free := r.connect(mqtt.V5, "free-"+transport)
		for _, topic := range []string{"a/b/c", strings.Repeat("x", 11)} {
			c, _ := r.connectOn(r.tight(transport, mqtt.V5), "tight-"+transport)
			if got := c.publish(1, topic, "x"); got != mqtt.TopicNameInvalid {
				t.Errorf("%s: PUBACK %v", topic, got)
			}
			if got := free.publish(1, topic, "x"); got >= mqtt.UnspecifiedError {
				t.Errorf("%s at another listener: PUBACK %v", topic, got)
			}
			if got := c.subscribe(1, topic, "a/b", "c"); got[0] != mqtt.TopicFilterInvalid || got[1] != 1 || got[2] != mqtt.QuotaExceeded {
				t.Errorf("%s: SUBACK %v", topic, got)
			}
			if got := free.subscribe(1, topic, "a/b", "c"); got[0] != 1 || got[2] != 1 {
				t.Errorf("%s at another listener: SUBACK %v", topic, got)
			}
		}
		r.tight(transport, mqtt.V5).refusesConnect(mqtt.TopicNameInvalid, func(o *mqtt.ConnectOut) {
			o.HasWill, o.WillTopic = true, []byte("a/b/c")
		})
	})
	j := r.opens(protocolJSON, "plain")
	j.connects()
	j.says(`{"id":7,"op":"publish","topic":"a/b/c","text":"x"}`)
	j.fails(7, "bad_topic", false)
}

// TestListenerSession: what bounds a session is that of the listener where its device is connected.
func TestListenerSession(t *testing.T) {
	t.Parallel()
	r := bounded(t, "subscriptions_max=1&inflight_max=2&queue_count_max=3", memoryOnly)
	overBoth(t, r, func(t *testing.T, r *rig, transport string) {
		id, topic := "moves-"+transport, transport+"/x"
		keeps := func(o *mqtt.ConnectOut) { o.SessionExpirySec = 60 }
		c, _ := r.connectOn(r.tight(transport, mqtt.V5), id, keeps)
		if got := c.subscribe(1, topic, "y"); got[0] != 1 || got[1] != mqtt.QuotaExceeded {
			t.Errorf("SUBACK %v", got)
		}
		speaks, before := r.connect(mqtt.V5, "speaks-"+transport), r.sum().drops[session.DropQueueFull]
		for i := range 10 {
			speaks.publish(1, topic, fmt.Sprint(i))
		}
		r.eventually("what is beyond two in flight and three in the queue is dropped", func() bool {
			return r.sum().drops[session.DropQueueFull] == before+5
		})
		for _, want := range []string{"0", "1"} { // unacknowledged
			if m := c.expect(mqtt.TypePublish); string(m.Payload) != want {
				t.Errorf("%q, want %q", m.Payload, want)
			}
		}
		c.ping()
		c.cut()
		free, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), id, keeps, func(o *mqtt.ConnectOut) { o.CleanStart = false })
		for _, want := range []string{"0", "1", "7", "8", "9"} {
			free.gets(topic, want)
		}
		if got := free.subscribe(1, "y", "z"); got[0] != 1 || got[1] != 1 {
			t.Errorf("SUBACK %v at a listener without bounds", got)
		}
	})
	j := r.opens(protocolJSON, "plain")
	told, _ := j.connects()["limits"].(map[string]any)
	if fmt.Sprint(told["subscriptions"], told["inflight"]) != "1 2" {
		t.Errorf("a plain device is told %v", told)
	}
}

// TestTenantQueue: what waits for the devices of a tenant together is bounded; others have their own.
func TestTenantQueue(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, twoTenants, func(c *Config) { c.Tenants[0].QueueBytesMax, c.Tenants[0].RetainedBytesMax = 5000, 5000 })
	acme := r.gw.tenants.byName["acme"]
	for _, tenant := range []string{"acme", "globex"} {
		for _, id := range []string{"a", "b"} {
			c := r.of(tenant, mqtt.V5, id, func(o *mqtt.ConnectOut) { o.SessionExpirySec = 60 })
			c.subscribe(1, "x/"+id)
			c.cut()
		}
	}
	r.eventually("they are away", func() bool { return acme.open.Load() == 0 })
	for _, tenant := range []string{"acme", "globex"} {
		speaks := r.of(tenant, mqtt.V5, "speaks")
		for i := range 10 {
			speaks.publish(1, fmt.Sprint("x/", string("ab"[i%2])), strings.Repeat("x", 990))
			speaks.publish(1, fmt.Sprint("keep/", i), strings.Repeat("x", 990), retained)
		}
	}
	r.eventually("some are dropped", func() bool { return r.sum().drops[session.DropAccountBytes] > 0 })
	if n := acme.queued.bytes.Load(); n > 5000 || n < 3000 {
		t.Errorf("%d bytes wait for acme", n)
	}
	if n := acme.retainedBytes.Load(); n > 5000 || n < 3000 {
		t.Errorf("acme has %d bytes of retained messages", n)
	}
	if n := r.gw.tenants.byName["globex"].retained.Load(); n != 10 {
		t.Errorf("globex has %d retained messages, want 10", n)
	}
	back := r.of("globex", mqtt.V5, "a", func(o *mqtt.ConnectOut) { o.CleanStart = false })
	for range 5 {
		back.message()
	}
	for _, id := range []string{"a", "b"} {
		r.of("acme", mqtt.V5, id, func(o *mqtt.ConnectOut) { o.CleanStart = true }).ping()
	}
	r.eventually("nothing waits for acme", func() bool { return acme.queued.bytes.Load() == 0 })
	speaks := r.of("acme", mqtt.V5, "speaks")
	for i := range 10 {
		speaks.publish(1, fmt.Sprint("keep/", i), "", retained)
	}
	if n := acme.retainedBytes.Load(); n != 0 {
		t.Errorf("acme has %d bytes of no retained messages", n)
	}
}

// TestListenerQueueBytes: the bytes that wait for a session are those that its listener allows.
func TestListenerQueueBytes(t *testing.T) {
	t.Parallel()
	r := bounded(t, "queue_bytes_max=3000", memoryOnly)
	c, _ := r.connectOn(r.tight("tcp", mqtt.V5), "away", func(o *mqtt.ConnectOut) { o.SessionExpirySec = 60 })
	c.subscribe(1, "x")
	c.cut()
	r.eventually("it is away", func() bool { return r.sum().loop.Conns == 0 })
	speaks := r.connect(mqtt.V5, "speaks")
	for range 10 {
		speaks.publish(1, "x", strings.Repeat("x", 990))
	}
	r.eventually("what is beyond is dropped", func() bool { return r.sum().drops[session.DropQueueBytes] == 7 })
}

// crowded is a gateway where a tenant, or an address, has a rate for all its devices; each opens one of those, and other one of others.
var crowded = map[string]struct {
	mod         func(c *Config, packets, bytes int)
	each, other func(r *rig, v mqtt.Version) *client
	apart       func(r *rig) bool
}{
	"tenant": {
		func(c *Config, packets, bytes int) {
			twoTenants(c)
			c.Tenants[0].PacketRate, c.Tenants[0].ByteRate = packets, bytes
		},
		func(r *rig, v mqtt.Version) *client { return r.opensAs("acme", v) }, func(r *rig, v mqtt.Version) *client { return r.opensAs("globex", v) },
		func(r *rig) bool {
			return r.gw.tenants.byName["acme"].refused[tenantPace].Load() > 0 && r.gw.tenants.byName["globex"].refused[tenantPace].Load() == 0
		},
	},
	"address": {
		func(c *Config, packets, bytes int) {
			c.Limits.PerAddress = PerAddress{ConnectBurst: 1, PacketRate: packets, ByteRate: bytes, Exempt: []string{}}
		},
		func(r *rig, v mqtt.Version) *client { return r.dialFrom("127.0.0.2", r.mqtt, v) },
		func(r *rig, v mqtt.Version) *client { return r.dialFrom("127.0.0.3", r.mqtt, v) },
		func(r *rig) bool {
			a, b := r.gw.addresses.crowdOf(netip.MustParseAddr("127.0.0.2")), r.gw.addresses.crowdOf(netip.MustParseAddr("127.0.0.3"))
			return a != nil && b != nil && a != b && r.sum().rests > 0
		},
	},
}

// TestCrowdRates: the devices of a tenant, and those of an address, share its rates of packets and of bytes; others have nothing to do with them.
func TestCrowdRates(t *testing.T) {
	t.Parallel()
	const burst = 200 * time.Millisecond
	for name, crowd := range crowded {
		for _, of := range []struct {
			name           string
			packets, bytes int
			send           []byte // 100 packets' or 1,200 bytes' worth
			answers        int
		}{
			{"packets", 100, 0, bytes.Repeat(mqtt.AppendPingreq(nil), 50), 50},
			{"bytes", 0, 100, bytes.Repeat(mqtt.AppendPingreq(nil), 25), 25},
			{"filters", 100, 0, manyFilters(50*filtersPerPacket - 16), 1},
		} {
			t.Run(name+" "+of.name, func(t *testing.T) {
				t.Parallel()
				r := start(t, memoryOnly, func(c *Config) {
					c.Limits.RateBurst, c.MQTT.FiltersMax = burst, 10_000
					crowd.mod(c, of.packets, of.bytes)
				})
				began := time.Now()
				var all []*client
				for i := range 2 {
					c, _ := r.connectOn(crowd.each(r, mqtt.V5), fmt.Sprint("crowd", i))
					c.write(of.send)
					all = append(all, c)
				}
				other, _ := r.connectOn(crowd.other(r, mqtt.V5), "other")
				other.ping()
				for _, c := range all {
					for range of.answers {
						c.must()
					}
					c.ping() // comes when the rest is over
				}
				if took := time.Since(began); took < 700*time.Millisecond {
					t.Errorf("what takes a second but for the %v at once took %v", burst, took)
				}
				if !crowd.apart(r) {
					t.Error("the pauses are not those of the crowd")
				}
			})
		}
	}
}

// manyFilters is a SUBSCRIBE that wants nothing that comes.
func manyFilters(n int) []byte {
	var filters []mqtt.Filter
	for i := range n {
		filters = append(filters, mqtt.Filter{Topic: fmt.Append(nil, "nothing/", i)})
	}
	return mqtt.AppendSubscribe(nil, mqtt.V5, 1, filters, 0)
}

// TestTenantRates: the devices of a tenant share its rates, in both directions; others notice nothing.
func TestTenantRates(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, twoTenants, func(c *Config) {
		c.Limits.RateBurst = 200 * time.Millisecond
		c.Tenants[0].PacketRate, c.Tenants[0].DeliverRate = 100, 50
	})
	acme, began := r.gw.tenants.byName["acme"], time.Now()
	var floods []*client
	for i := range 2 {
		floods = append(floods, r.of("acme", mqtt.V5, fmt.Sprint("flood", i)))
	}
	for _, c := range floods {
		var all []byte
		for range 50 {
			all = mqtt.AppendPingreq(all)
		}
		c.write(all)
	}
	r.of("globex", mqtt.V5, "g").ping()
	for _, c := range floods {
		for range 50 {
			c.expect(mqtt.TypePingresp)
		}
	}
	if took := time.Since(began); took < 700*time.Millisecond {
		t.Errorf("100 packets of a tenant with 100 a second and 20 at once took %v", took)
	}
	if acme.refused[tenantPace].Load() == 0 {
		t.Error("nothing is counted")
	}
	var hear []*client
	for i := range 2 {
		c := r.of("acme", mqtt.V5, fmt.Sprint("hears", i))
		c.subscribe(1, "x")
		hear = append(hear, c)
	}
	nc := r.nats()
	began = time.Now()
	for range 25 {
		if err := nc.Publish("t.acme.x", []byte("m")); err != nil {
			t.Fatal(err)
		}
	}
	for range 25 {
		for _, c := range hear {
			c.gets("x", "m")
		}
	}
	if took := time.Since(began); took < 500*time.Millisecond {
		t.Errorf("50 messages to a tenant with 50 a second and 10 at once took %v", took)
	}
}

// TestAddressForgotten: what an address has sent is forgotten when its devices have gone and its rate is full again.
func TestAddressForgotten(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, func(c *Config) {
		c.Limits.PerAddress = PerAddress{ConnectBurst: 1, PacketRate: 100, Exempt: []string{}}
	})
	c, _ := r.connectOn(r.dialFrom("127.0.0.2", r.mqtt, mqtt.V5), "c")
	c.ping()
	if r.gw.addresses.crowdOf(netip.MustParseAddr("127.0.0.2")) == nil {
		t.Error("what comes from its address is not counted")
	}
	c.disconnect()
	r.eventually("nothing is remembered", func() bool {
		for i := range addressParts {
			r.gw.addresses.forget(i, 1<<60)
		}
		n, _ := r.gw.addresses.known()
		return n == 0
	})
}
