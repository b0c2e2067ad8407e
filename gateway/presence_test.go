package gateway

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestPresence: who holds a filter and is connected, on every loop and in every protocol.
func TestPresence(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, protocol string) {
		r := start(t, func(c *Config) { c.Loops = 3 })
		j := r.talks(protocol, "asks")
		for i, filter := range []string{"room/7/#", "room/7", "$share/g/room/7"} {
			j.asks(fmt.Sprintf(`{"id":2,"op":"subscribe","filter":%q}`, filter), `{"id":2,"ok":true}`)
			asks := fmt.Sprintf(`{"id":3,"op":"presence","filter":%q}`, filter)
			j.asks(asks, `{"id":3,"ok":true,"count":1,"clients":["asks"]}`)
			var away *client
			for shard := range 3 {
				c := r.connect(mqtt.V5, r.ids(fmt.Sprintf("m%d", i), shard, 1)[0], persistent)
				c.subscribe(1, filter, "room/7/+")
				away = c
			}
			m := func(shard int) string { return r.ids(fmt.Sprintf("m%d", i), shard, 1)[0] }
			plain := r.json("b" + fmt.Sprint(i))
			plain.asks(fmt.Sprintf(`{"id":2,"op":"subscribe","filter":%q}`, filter), `{"id":2,"ok":true}`)
			got := func() string {
				j.says(asks)
				v := j.next()
				return fmt.Sprintf("%v %v %v", v["count"], len(v["clients"].([]any)), v["more"])
			}
			if all := got(); all != "5 5 <nil>" {
				t.Errorf("%s: %s", filter, all)
			}
			away.cut()
			r.eventually("one is away", func() bool { return got() == "4 4 <nil>" })
			back, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), m(2), persistent)
			if !ack.SessionPresent || got() != "5 5 <nil>" {
				t.Errorf("%s: not back", filter)
			}
			back.disconnect()
		}
		j.asks(`{"id":4,"op":"unsubscribe","filter":"room/7"}`, `{"id":4,"ok":true}`)
		j.says(`{"id":5,"op":"presence","filter":"room/7"}`)
		j.fails(5, "bad_filter", false)
	})
}

// TestPresenceIsBounded: a thousand are named, all are counted; a device has so many questions under way.
func TestPresenceIsBounded(t *testing.T) {
	t.Parallel()
	r := start(t, unrecorded, func(c *Config) { c.Limits.RequestsMax = 2 })
	j := r.json("asks")
	j.asks(`{"id":2,"op":"subscribe","filter":"crowd"}`, `{"id":2,"ok":true}`)
	for i := range presentNamed + 10 {
		c := r.open(mqtt.V311, r.mqtt)
		c.write(c.connectPacket(fmt.Sprintf("crowd-%04d", i)))
		c.write(mqtt.AppendSubscribe(nil, mqtt.V311, 1, []mqtt.Filter{{Topic: []byte("crowd")}}, 0))
		c.expect(mqtt.TypeConnack)
		c.expect(mqtt.TypeSuback)
	}
	j.says(`{"id":3,"op":"presence","filter":"crowd"}`)
	v := j.next()
	if v["count"] != float64(presentNamed+11) || len(v["clients"].([]any)) != presentNamed || v["more"] != true {
		t.Errorf("count %v, %d named, more %v", v["count"], len(v["clients"].([]any)), v["more"])
	}
	j.says(`[{"id":4,"op":"presence","filter":"crowd"},{"id":5,"op":"presence","filter":"crowd"},{"id":6,"op":"presence","filter":"crowd"}]`)
	j.fails(6, "too_many_requests", true)
}

// TestPresenceChanges: who watches a filter is told who joins and leaves, in every way in which that happens.
func TestPresenceChanges(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, protocol string) {
		r := start(t, func(c *Config) { c.Loops = 3 })
		j := r.talks(protocol, "watches", `"down_qos":0`)
		j.asks(`{"id":2,"op":"subscribe","filter":"r/+","presence":true}`, `{"id":2,"ok":true}`)
		change := func(how, id string) {
			t.Helper()
			j.hears(fmt.Sprintf(`{"op":"presence","filter":"r/+",%q:%q}`, how, id))
		}
		for shard := range 3 {
			id := r.ids("m", shard, 1)[0]
			c := r.connect(mqtt.V5, id, persistent)
			c.subscribe(1, "r/x", "r/#")
			c.subscribe(1, "r/+")
			change("joined", id)
			c.subscribe(0, "r/+") // not news
			c.cut()
			change("left", id)
			r.connectOn(r.open(mqtt.V311, r.mqtt), id, func(o *mqtt.ConnectOut) { o.CleanStart = false })
			change("joined", id)
			c, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), id, persistent) // a takeover is not news either
			c.write(mqtt.AppendUnsubscribe(nil, mqtt.V5, 9, []mqtt.Filter{{Topic: []byte("r/+")}}))
			change("left", id)
			c.expect(mqtt.TypeUnsuback)
			c.subscribe(1, "r/+")
			change("joined", id)
			c, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), id) // clean: the session that held it ends
			change("left", id)
			c.disconnect()

			other := r.talks(protocol, "other")
			other.asks(`{"id":2,"op":"subscribe","filter":"r/+"}`, `{"id":2,"ok":true}`)
			change("joined", "other")
			_ = other.c.CloseNow()
			change("left", "other")
		}
		j.asks(`{"id":3,"op":"subscribe","filter":"$share/g/r","presence":true}`, `{"id":3,"ok":true}`)
		c := r.connect(mqtt.V5, "member")
		c.subscribe(1, "$share/g/r")
		j.hears(`{"op":"presence","filter":"$share/g/r","joined":"member"}`)
		// Told no more: after subscribing without, after unsubscribing, after the end.
		j.asks(`{"id":3,"op":"subscribe","filter":"r/+"}`, `{"id":3,"ok":true}`)
		j.asks(`{"id":4,"op":"unsubscribe","filter":"$share/g/r"}`, `{"id":4,"ok":true}`)
		if n := r.gw.watched.watchers.Load(); n != 0 {
			t.Errorf("%d watchers", n)
		}
		j.asks(`{"id":3,"op":"subscribe","filter":"r/+","presence":true}`, `{"id":3,"ok":true}`)
		j.asks(`{"id":3,"op":"subscribe","filter":"r/+","presence":true}`, `{"id":3,"ok":true}`)
		if n := r.gw.watched.watchers.Load(); n != 1 {
			t.Errorf("%d watchers", n)
		}
		_ = j.c.CloseNow()
		r.eventually("nobody watches", func() bool { return r.gw.watched.watchers.Load() == 0 })
		r.gw.watched.mu.Lock()
		defer r.gw.watched.mu.Unlock()
		if len(r.gw.watched.filters) != 0 {
			t.Errorf("%v", r.gw.watched.filters)
		}
	})
}

// TestPresenceMissed: what does not fit is told as missed, if no change is to be told then by itself.
func TestPresenceMissed(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Loops = 1 })
	j := r.json("watches", `"down_qos":0`)
	j.asks(`{"id":2,"op":"subscribe","filter":"r","presence":true}`, `{"id":2,"ok":true}`)
	done := make(chan struct{})
	r.gw.shards[0].doSoon(func(s *shard) {
		for i := range changesMax + 1 {
			if len(s.changes) == changesMax {
				s.changesCut = true
				break
			}
			s.changes = append(s.changes, change{"other", fmt.Sprint(i), true})
		}
		close(done)
	})
	<-done
	j.hears(`{"op":"presence","filter":"r","missed":true}`)
	c := r.connect(mqtt.V5, "late")
	c.subscribe(0, "r")
	j.hears(`{"op":"presence","filter":"r","joined":"late"}`)
	c.disconnect()
	j.hears(`{"op":"presence","filter":"r","left":"late"}`)
}

// TestPresenceTellsInTurn: what one tick may tell goes to all watchers in the end.
func TestPresenceTellsInTurn(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Loops = 1 })
	first, second := r.json("w1", `"down_qos":0`), r.json("w2", `"down_qos":0`)
	for _, j := range []*talker{first, second} {
		j.asks(`{"id":2,"op":"subscribe","filter":"r"}`, `{"id":2,"ok":true}`)
	}
	for _, j := range []*talker{first, second} {
		j.asks(`{"id":2,"op":"subscribe","filter":"r","presence":true}`, `{"id":2,"ok":true}`)
	}
	done := make(chan int)
	r.gw.shards[0].doSoon(func(s *shard) {
		for i := range 3 {
			s.told = tellsMax - 1 // room for one of the two
			s.hearChanges([]change{{"r", fmt.Sprint("c", i), true}}, false)
		}
		s.told = tellsMax
		s.hearChanges([]change{{"r", "nobody", true}}, false)
		s.told = 0
		s.hearChanges([]change{{"r", "all", false}}, false)
		done <- s.audiences["r"].turn
	})
	<-done
	first.hears(`{"op":"presence","filter":"r","joined":"c0"}`)
	second.hears(`{"op":"presence","filter":"r","joined":"c1","missed":true}`)
	first.hears(`{"op":"presence","filter":"r","joined":"c2","missed":true}`)
	for _, j := range []*talker{first, second} {
		j.hears(`{"op":"presence","filter":"r","left":"all","missed":true}`)
	}
}

// TestPresenceOwed: a shard whose inbox was full hears later that there was something, also if nothing happens any more.
func TestPresenceOwed(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Loops = 2 })
	j := r.json(r.ids("w", 1, 1)[0], `"down_qos":0`)
	j.asks(`{"id":2,"op":"subscribe","filter":"r","presence":true}`, `{"id":2,"ok":true}`)
	began, goOn := make(chan struct{}), make(chan struct{})
	watching := r.gw.shards[1]
	watching.doSoon(func(*shard) {
		close(began)
		<-goOn
	})
	<-began
	for watching.do(func(*shard) {}) { // until its inbox is full
	}
	told := make(chan bool)
	r.gw.shards[0].doSoon(func(s *shard) {
		s.changes = append(s.changes, change{"r", "unheard", true})
		s.tellChanges()
		told <- s.owing
	})
	if !<-told {
		t.Error("its inbox was not full")
	}
	close(goOn)
	j.hears(`{"op":"presence","filter":"r","missed":true}`)
}
