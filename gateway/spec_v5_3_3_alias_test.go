package gateway

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Topic aliases that the server uses.

func Test_v5_MQTT_3_1_2_26_Wire(t *testing.T) { t.Parallel(); aliasesWithin(t) }
func Test_v5_MQTT_3_3_2_11_Wire(t *testing.T) { t.Parallel(); aliasesWithin(t) }

// aliasesWithin: the server uses aliases towards a client that allows them, none beyond what it allows, each said together with its topic
// before it stands for it, and none from the connection before. A message that is sent again can be read, too.
func aliasesWithin(t *testing.T) {
	t.Helper()
	r := start(t)
	p := r.connect(mqtt.V5, "p")
	const topics, rounds = 6, 3
	for _, most := range []uint16{1, 3, 65535} {
		id := fmt.Sprint("sub-", most)
		allow := func(o *mqtt.ConnectOut) { o.CleanStart, o.SessionExpirySec, o.TopicAliasMax = false, 3600, most }
		c := r.connect(mqtt.V5, id, allow)
		c.subscribe(1, "t/#")
		for again := range 2 {
			known := map[uint16]string{}
			used := 0
			read := func(want string) {
				t.Helper()
				g := c.expect(mqtt.TypePublish)
				topic := g.topic
				if g.Props.Has(mqtt.PropTopicAlias) {
					alias := g.Props.TopicAlias
					if alias == 0 || alias > most {
						t.Errorf("alias %d to a client that allows %d", alias, most)
					}
					if topic == "" {
						topic = known[alias]
						used++
					}
					known[alias] = topic
				}
				if topic != want || g.payload != want {
					t.Errorf("topic %q, payload %q, want %q", topic, g.payload, want)
				}
				if want != "t/unanswered" {
					c.write(mqtt.AppendPuback(nil, c.v, g.PacketID, mqtt.Success))
				}
			}
			if again > 0 {
				read("t/unanswered")
			}
			for range rounds {
				for i := range topics {
					topic := fmt.Sprint("t/with/a/name/of/some/length/", i%(2+int(most)))
					for range 3 { // so that each is worth an alias, though there be fewer aliases than topics
						p.publish(1, topic, topic)
						read(topic)
					}
				}
			}
			if used == 0 {
				t.Errorf("no alias is used for a client that allows %d", most)
			}
			if again == 0 {
				p.publish(1, "t/unanswered", "t/unanswered")
				read("t/unanswered")
			}
			c.cut()
			c, _ = r.connectOn(r.open(mqtt.V5, r.mqtt), id, allow)
		}
		c.disconnect()
	}
}
