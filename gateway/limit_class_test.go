package gateway

import (
	"fmt"
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

// TestAddressRate: devices of one address share its rate; those of another have their own.
func TestAddressRate(t *testing.T) {
	t.Parallel()
	r := start(t, memoryOnly, func(c *Config) {
		c.Limits.RateBurst = 200 * time.Millisecond
		c.Limits.PerAddress = PerAddress{ConnectBurst: 1, PacketRate: 100, ByteRate: 1 << 20, Exempt: []string{}}
	})
	began := time.Now()
	var floods []*client
	for i := range 2 {
		c, _ := r.connectOn(r.dialFrom("127.0.0.2", r.mqtt, mqtt.V5), fmt.Sprint("flood", i))
		floods = append(floods, c)
	}
	for _, c := range floods {
		var all []byte
		for range 50 {
			all = mqtt.AppendPingreq(all)
		}
		c.write(all)
	}
	other, _ := r.connectOn(r.dialFrom("127.0.0.3", r.mqtt, mqtt.V5), "other")
	other.ping()
	if took := time.Since(began); took > 600*time.Millisecond {
		t.Logf("another address was answered after %v", took)
	}
	for _, c := range floods {
		for range 50 {
			c.expect(mqtt.TypePingresp)
		}
	}
	if took := time.Since(began); took < 700*time.Millisecond {
		t.Errorf("100 packets of an address with 100 a second and 20 at once took %v", took)
	}
	for _, c := range floods {
		c.disconnect()
	}
	other.disconnect()
	r.eventually("nothing is remembered of those who have gone", func() bool {
		for i := range addressParts {
			r.gw.addresses.forget(i, r.gw.shards[0].loop.Now())
		}
		return r.addressesOpen() == 0
	})
}
