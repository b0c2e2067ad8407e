package gateway

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Order in MQTT 3.1.1 (§4.6): per publisher, topic and QoS, whatever happens to the connections.

func Test_v311_MQTT_4_6_0_1_Wire(t *testing.T) { // what is sent again keeps its order, acknowledged ones left out
	t.Parallel()
	r := start(t)
	c := r.device311("c", 0, accepted311)
	c.takes(2, "t")
	p := r.clean311("p")
	var want []string
	var ids []uint16
	for i := range 20 {
		flags := []byte{pubQoS1, pubQoS2}[i/3%2]
		p.gives(flags, "t", fmt.Sprint(i))
		g := c.expect(mqtt.TypePublish)
		want, ids = append(want, publish311(flags|pubDup, "t", g.PacketID, fmt.Sprint(i))), append(ids, g.PacketID)
	}
	for _, i := range []int{7, 1, 13} { // QoS 1 acknowledged out of turn
		c.write([]byte(puback(ids[i])))
		want[i] = ""
	}
	c.silent()
	c.reset()
	c = r.device311("c", 0, accepted311Present)
	for _, w := range want {
		if w != "" {
			c.answers(w)
		}
	}
	c.silent()
}

func Test_v311_MQTT_4_6_0_2_Wire(t *testing.T) { t.Parallel(); answersInOrder(t) } // PUBACK in the order of PUBLISH
func Test_v311_MQTT_4_6_0_3_Wire(t *testing.T) { t.Parallel(); answersInOrder(t) } // PUBREC in the order of PUBLISH

func answersInOrder(t *testing.T) {
	t.Helper()
	r := start(t)
	p := r.clean311("p")
	var one, two string
	var acks, recs []string
	for i := range 100 {
		id := uint16(1 + i*37%100)
		one, acks = one+publish311(pubQoS1, "t", id, "x"), append(acks, puback(id))
		two, recs = two+publish311(pubQoS2, "u", id+200, "x"), append(recs, pubrec(id+200))
	}
	p.says(one, acks...)
	p.says(two, recs...)
}

func Test_v311_MQTT_4_6_0_4_Wire(t *testing.T) { // PUBREL in the order of PUBREC, also when they are sent again
	t.Parallel()
	r := start(t)
	c := r.device311("c", 0, accepted311)
	c.takes(2, "t")
	p := r.clean311("p")
	var recs string
	var rels []string
	for range 20 {
		p.gives(pubQoS2, "t", "x")
		id := c.expect(mqtt.TypePublish).PacketID
		recs, rels = recs+pubrec(id), append(rels, pubrel(id))
	}
	c.says(recs, rels...)
	c.cut()
	c = r.device311("c", 0, accepted311Present)
	c.answers(rels...)
	c.silent()
}

func Test_v311_MQTT_4_6_0_5_Wire(t *testing.T) { t.Parallel(); orderThroughReconnects(t) } // every topic is ordered
func Test_v311_MQTT_4_6_0_6_Wire(t *testing.T) { t.Parallel(); orderThroughReconnects(t) } // to every subscriber, from every client

// orderThroughReconnects: four publishers, of either loop and of QoS 1 and 2 on one topic, lose their connections now and then, and so do
// the subscribers. Whoever subscribed sees the first copies of each publisher's messages in their order and none left out, a second one
// only of QoS 1, or marked as a duplicate of a message still under way.
func orderThroughReconnects(t *testing.T) {
	t.Helper()
	const each = 250
	seed := uint64(time.Now().UnixNano())
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	r := start(t, func(c *Config) { c.Session.QueueCountMax, c.MQTT.InflightMax = 100_000, 10 })
	var takers []*taker
	for shard := range 2 {
		k := &taker{r: r, id: r.ids("taker", shard, 1)[0], rnd: rand.New(rand.NewPCG(seed, uint64(shard))), next: map[string]int{}, began: map[uint16]bool{}}
		k.c = r.device311(k.id, 0, accepted311)
		k.c.takes(2, "o/+")
		takers = append(takers, k)
	}
	done := make(chan error, 4)
	for i := range 4 {
		g := &giver{r: r, id: r.ids("giver", i%2, 2)[i/2], flags: []byte{pubQoS1, pubQoS2}[i/2], rnd: rand.New(rand.NewPCG(seed, uint64(10+i)))}
		go func() { done <- g.run(each) }()
	}
	for _, k := range takers {
		k.run(t, 4, each)
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestRetransmissionInOrder: after a reconnect all that is unacknowledged comes again, in the order it was first sent, each as
// far as it had got and with the id it had: PUBLISH of QoS 1 and 2 with DUP, PUBREL; and what had waited follows without
// DUP [MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-4.6.0-4] [MQTT-3.3.1-1].
func TestRetransmissionInOrder(t *testing.T) {
	t.Parallel()
	for _, v := range []mqtt.Version{mqtt.V31, mqtt.V311} {
		for _, end := range ends {
			t.Run(v.String()+"/"+end.name, func(t *testing.T) {
				r := start(t, func(c *Config) { c.MQTT.InflightMax = 7 })
				d := &receiver{r: r, v: v, id: "d"}
				d.connect()
				d.c.takes(2, "il/#")
				p := r.clean311("p")
				for i, flags := range []byte{pubQoS2, pubQoS1, pubQoS2, pubQoS1, pubQoS2, pubQoS1, pubQoS2, pubQoS2, pubQoS1} {
					p.gives(flags, "il/x", fmt.Sprint(i))
				}
				ids, sent := map[string]uint16{}, []string{}
				for range 7 { // the window; with records QoS 1 does not wait for QoS 2
					g := d.c.expect(mqtt.TypePublish)
					i := len(sent)
					if g.Dup || g.payload != fmt.Sprint(i) && !r.durable() || g.payload > "6" {
						t.Fatalf("message %d is %q, dup %v", i, g.payload, g.Dup)
					}
					if at := slices.IndexFunc(sent, func(other string) bool { return other > g.payload }); at >= 0 && strings.Contains("135", sent[at]) == (g.QoS == 1) {
						t.Fatalf("%q comes after %q", g.payload, sent)
					}
					sent, ids[g.payload] = append(sent, g.payload), g.PacketID
				}
				// 0 and 4 got as far as PUBREL, 3 is done, so that 7 follows; 1, 2, 5 and 6 were never answered.
				d.c.says(pubrec(ids["0"]), pubrel(ids["0"]))
				d.c.says(pubrec(ids["4"]), pubrel(ids["4"]))
				d.c.write([]byte(puback(ids["3"])))
				g := d.c.expect(mqtt.TypePublish)
				if g.payload != "7" || g.Dup {
					t.Fatalf("%q follows, dup %v", g.payload, g.Dup)
				}
				sent, ids["7"] = append(sent, "7"), g.PacketID
				var again []string
				for _, payload := range sent {
					switch payload {
					case "0", "4":
						rel := pubrel(ids[payload])
						if v == mqtt.V31 {
							rel = "\x6a" + rel[1:]
						}
						again = append(again, rel)
					case "1", "5":
						again = append(again, publish311(pubDup|pubQoS1, "il/x", ids[payload], payload))
					case "2", "6", "7":
						again = append(again, publish311(pubDup|pubQoS2, "il/x", ids[payload], payload))
					}
				}
				for range 3 { // as often as it takes
					end.end(d.c)
					d.connect()
					d.c.answers(again...)
					d.c.silent()
				}
				d.c.write([]byte(pubcomp(ids["0"])))
				if g := d.c.expect(mqtt.TypePublish); g.payload != "8" || g.Dup || g.QoS != 1 {
					t.Fatalf("%q follows, dup %v", g.payload, g.Dup)
				}
				d.c.silent()
			})
		}
	}
}

// giver publishes numbers on o/x and loses its connection now and then.
type giver struct {
	r     *rig
	id    string
	flags byte
	rnd   *rand.Rand
	c     *client
}

func (g *giver) connect() error {
	if g.c != nil {
		[]func(*client){(*client).cut, (*client).reset}[g.rnd.IntN(2)](g.c)
	}
	conn, err := net.Dial("tcp", g.r.mqtt)
	if err != nil {
		return err
	}
	g.c = &client{t: g.r.t, conn: conn, v: mqtt.V311}
	if err := g.c.tryWrite([]byte(connect311(0, str(g.id)))); err != nil {
		return err
	}
	_, err = g.until(mqtt.TypeConnack, 0)
	return err
}

// until reads up to a packet.
func (g *giver) until(ty mqtt.Type, id uint16) (*got, error) {
	for {
		p, err := g.c.next()
		if err != nil || p.Type == ty && p.PacketID == id {
			return p, err
		}
	}
}

// run sends one message after the other, each until it is acknowledged.
func (g *giver) run(n int) error {
	if err := g.connect(); err != nil {
		return err
	}
	defer func() { g.c.conn.Close() }()
	for i := range n {
		id := uint16(i%50 + 1)
		dup := byte(0)
		for {
			p := publish311(g.flags|dup, "o/x", id, fmt.Sprint(g.id, " ", i))
			if err := g.c.tryWrite([]byte(p)); err != nil {
				return err
			}
			if g.rnd.IntN(40) > 0 {
				break
			}
			if err := g.connect(); err != nil { // not knowing whether it came
				return err
			}
			dup = pubDup
		}
		if g.flags == pubQoS1 {
			if _, err := g.until(mqtt.TypePuback, id); err != nil {
				return fmt.Errorf("%s, PUBACK %d: %w", g.id, id, err)
			}
			continue
		}
		if _, err := g.until(mqtt.TypePubrec, id); err != nil {
			return fmt.Errorf("%s, PUBREC %d: %w", g.id, id, err)
		}
		for {
			if err := g.c.tryWrite([]byte(pubrel(id))); err != nil {
				return err
			}
			if g.rnd.IntN(40) > 0 {
				break
			}
			if err := g.connect(); err != nil {
				return err
			}
		}
		if _, err := g.until(mqtt.TypePubcomp, id); err != nil {
			return fmt.Errorf("%s, PUBCOMP %d: %w", g.id, id, err)
		}
	}
	return nil
}

// taker subscribes, acknowledges late, and loses its connection now and then.
type taker struct {
	r     *rig
	id    string
	rnd   *rand.Rand
	c     *client
	next  map[string]int  // by publisher
	began map[uint16]bool // ids of QoS 2 between PUBLISH and PUBREL
}

// run takes n messages of each publisher.
func (k *taker) run(t *testing.T, publishers, n int) {
	t.Helper()
	left := publishers * n
	for left > 0 {
		if k.rnd.IntN(30) == 0 {
			[]func(*client){(*client).cut, (*client).reset, func(*client) {}}[k.rnd.IntN(3)](k.c)
			k.c = k.r.device311(k.id, 0, accepted311Present)
		}
		g := k.c.must()
		switch g.Type {
		case mqtt.TypePubrel:
			delete(k.began, g.PacketID)
			k.c.write([]byte(pubcomp(g.PacketID)))
		case mqtt.TypePublish:
			if k.take(t, g) {
				left--
			}
			if g.QoS == 1 {
				k.c.write([]byte(puback(g.PacketID)))
			} else {
				k.c.write([]byte(pubrec(g.PacketID)))
			}
		}
	}
}

// take looks at one PUBLISH; true: it is the next message of its publisher.
func (k *taker) take(t *testing.T, g *got) bool {
	t.Helper()
	var from string
	var number int
	if _, err := fmt.Sscanf(g.payload, "%s %d", &from, &number); err != nil {
		t.Fatal(err)
	}
	if g.QoS == 2 && k.began[g.PacketID] {
		if !g.Dup {
			t.Fatalf("%s: id %d is used for %q before it is free", k.id, g.PacketID, g.payload)
		}
		return false
	}
	k.began[g.PacketID] = g.QoS == 2
	switch want := k.next[from]; {
	case number == want:
		k.next[from]++
		return true
	case number < want && g.QoS == 1:
		return false
	default:
		t.Fatalf("%s: %q (QoS %d, dup %v) came, want %d", k.id, g.payload, g.QoS, g.Dup, want)
		return false
	}
}
