package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestSharedChurn: while members on all shards come and go, with sessions that end and that stay, and acknowledge nothing, each message of
// the group reaches a member that stays.
func TestSharedChurn(t *testing.T) {
	t.Parallel()
	const messages, rounds = 600, 12
	r := sharing(t, "round-robin", func(c *Config) { c.MQTT.InflightMax, c.Session.QueueCountMax = 20, 10_000 })
	var stays []*client
	for shard := range 3 {
		c := r.connect(mqtt.V5, r.ids("stays", shard, 1)[0])
		c.subscribe(1, "$share/g/s/#")
		stays = append(stays, c)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		p := r.connect(mqtt.V5, "pub")
		for i := range messages {
			p.publish(1, "s/x", fmt.Sprint(i))
		}
	}()
	churned := make(chan struct{})
	go func() {
		defer close(churned)
		for round := range rounds {
			for shard := range 3 {
				id := r.ids("comes", shard, 1+round%3)[round%3]
				mods := []func(*mqtt.ConnectOut){persistent}
				if round%2 == 0 {
					mods = nil
				}
				c, _ := r.connectOn(r.open(mqtt.V5, r.mqtt), id, mods...)
				c.subscribeQuietly("$share/g/s/#")
				switch round % 3 {
				case 0:
					c.reset()
				case 1:
					c.write(mqtt.AppendUnsubscribe(nil, mqtt.V5, 9, []mqtt.Filter{{Topic: []byte("$share/g/s/#")}}))
					c.reset()
				default:
					c.endSession()
				}
			}
		}
		for shard := range 3 { // what still waits for one of them is the others'
			for _, id := range r.ids("comes", shard, 3) {
				r.connect(mqtt.V5, id).disconnect()
			}
		}
	}()
	seen := make(chan string, 3*messages)
	for _, c := range stays {
		go func() {
			for {
				g, err := c.next()
				if err != nil {
					return
				}
				if g.Type == mqtt.TypePublish {
					seen <- g.payload
					if c.tryWrite(mqtt.AppendPuback(nil, c.v, g.PacketID, 0)) != nil {
						return
					}
				}
			}
		}()
	}
	<-sent
	<-churned
	missing := map[string]bool{}
	for i := range messages {
		missing[fmt.Sprint(i)] = true
	}
	timeout := time.After(patience)
	for len(missing) > 0 {
		select {
		case payload := <-seen:
			delete(missing, payload)
		case <-timeout:
			t.Fatalf("%d messages are missing; dropped %v, %d orphans", len(missing), r.sum().drops, r.sum().orphans)
		}
	}
}

// subscribeQuietly subscribes and acknowledges no message that comes before SUBACK.
func (c *client) subscribeQuietly(filter string) {
	c.write(mqtt.AppendSubscribe(nil, c.v, 3, []mqtt.Filter{{Topic: []byte(filter), QoS: 1}}, 0))
	for c.must().Type != mqtt.TypeSuback {
	}
}
