package gateway

import (
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// DISCONNECT.

// Test_v5_MQTT_3_14_0_1: before CONNACK with success the server sends no DISCONNECT: not for what is wrong, not for what is no CONNECT, and
// not to a client that takes no CONNACK.
func Test_v5_MQTT_3_14_0_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	early := map[string]string{
		"PUBLISH": publish5(0, "t", 0, "", "x"), "type 0": "\x00\x00", "too large": "\x10\xff\xff\xff\x7f", "DISCONNECT": "\xe0\x00",
		"CONNACK does not fit": connect5(0x06, "\x27\x00\x00\x00\x05", str("c")+block("")+str("w")+str("x")),
	}
	for what, packet := range refusedConnects {
		early[what] = packet
	}
	w := r.watch("w")
	for _, way := range transports {
		for what, packet := range early {
			c := r.via(way, mqtt.V5)
			c.send(packet)
			for {
				g, err := c.next()
				if err != nil {
					break
				}
				if g.Type != mqtt.TypeConnack || !g.Reason.Failed() {
					t.Errorf("%s: %v %v", what, g.Type, g.Reason)
				}
			}
			c.cut()
		}
	}
	w.hearsNothingBut(r, "w", "no will of theirs")
	if s := r.sum(); s.live[liveWS5]+s.live[live5] != 1 {
		t.Errorf("%d live devices", s.live[liveWS5]+s.live[live5])
	}
}

// Test_v5_MQTT_3_14_1_1: its reserved flags are looked at.
func Test_v5_MQTT_3_14_1_1(t *testing.T) {
	t.Parallel()
	r := start(t)
	for flags := byte(1); flags < 16; flags++ {
		r.punishes(string([]byte{0xE0 | flags, 0}), mqtt.MalformedPacket)
	}
}

// farewells end a connection in every way that a server has a DISCONNECT for.
var farewells = map[string]struct {
	way func(t *testing.T, r *rig, c *client)
	why mqtt.Reason
}{
	"malformed":          {said("\xc1\x00"), mqtt.MalformedPacket},
	"protocol error":     {said(fixed(0x82, u16(1)+block(""))), mqtt.ProtocolError},
	"second CONNECT":     {said(connect5(2, "", str("c"))), mqtt.ProtocolError},
	"third version":      {said(fixed(0x10, str("MQTT")+"\x07\x02\x00\x3c\x00"+str("c"))), mqtt.ProtocolError},
	"CONNACK":            {said("\x20\x03\x00\x00\x00"), mqtt.ProtocolError},
	"topic":              {said(publish5(0, "#", 0, "", "x")), mqtt.TopicNameInvalid},
	"filter":             {said(subscribe5(1, "a#", 0)), mqtt.TopicFilterInvalid},
	"topic alias":        {said(publish5(0, "t", 0, aliasProp+u16(0), "x")), mqtt.TopicAliasInvalid},
	"packet too large":   {said("\x30\xff\xff\xff\x7f"), mqtt.PacketTooLarge},
	"receive maximum":    {said(publish5(4, "t", 1, "", "") + publish5(4, "t", 2, "", "") + publish5(4, "t", 3, "", "")), mqtt.ReceiveMaximumExceeded},
	"session expiry":     {said(fixed(0xE0, "\x00"+block("\x11\x00\x00\x00\x01"))), mqtt.ProtocolError},
	"server's goodbye":   {said("\xe0\x01\x8b"), mqtt.ProtocolError},
	"reason of a SUBACK": {said("\xe0\x01\x8f"), mqtt.ProtocolError},
	"taken over":         {func(_ *testing.T, r *rig, _ *client) { r.connect(mqtt.V5, "c") }, mqtt.SessionTakenOver},
	"shutdown":           {nil, mqtt.ServerShuttingDown}, // see everyFarewell
}

func said(packets string) func(t *testing.T, r *rig, c *client) {
	return func(t *testing.T, _ *rig, c *client) {
		t.Helper()
		c.send(packets)
	}
}

// everyFarewell runs f on each DISCONNECT, with the client that got it.
func everyFarewell(t *testing.T, f func(t *testing.T, c *client, g *got)) {
	t.Helper()
	for what, farewell := range farewells {
		t.Run(what, func(t *testing.T) {
			r := start(t, func(c *Config) { c.MQTT.ReceiveMax = 2 })
			c := r.connect(mqtt.V5, "c")
			if farewell.way == nil {
				stopped := make(chan error, 1)
				go func() { stopped <- r.stop() }()
				defer func() {
					c.cut()
					if err := <-stopped; err != nil {
						t.Error(err)
					}
				}()
			} else {
				farewell.way(t, r, c)
			}
			for {
				g := c.must()
				if g.Type != mqtt.TypeDisconnect {
					continue // PUBREC
				}
				if g.Reason != farewell.why {
					t.Errorf("%v, want %v", g.Reason, farewell.why)
				}
				f(t, c, g)
				return
			}
		})
	}
}

// Test_v5_MQTT_3_14_2_1: the server's DISCONNECT has a reason code of its own.
func Test_v5_MQTT_3_14_2_1(t *testing.T) {
	t.Parallel()
	everyFarewell(t, func(t *testing.T, _ *client, g *got) { permitted(t, g) })
}

// Test_v5_MQTT_3_14_2_2: and no Session Expiry Interval.
func Test_v5_MQTT_3_14_2_2(t *testing.T) {
	t.Parallel()
	everyFarewell(t, func(t *testing.T, _ *client, g *got) {
		if g.Props.Has(mqtt.PropSessionExpiry) {
			t.Errorf("%x", g.raw)
		}
	})
}

func Test_v5_MQTT_3_14_2_3(t *testing.T) { t.Parallel(); answersWithinMaximum(t, mqtt.TypeDisconnect) }
func Test_v5_MQTT_3_14_2_4(t *testing.T) { t.Parallel(); answersWithinMaximum(t, mqtt.TypeDisconnect) }

// Test_v5_MQTT_3_14_4_1: it is the last packet, and Test_v5_MQTT_3_14_4_2: then the connection is closed.
func Test_v5_MQTT_3_14_4_1(t *testing.T) { t.Parallel(); disconnectIsLast(t) }
func Test_v5_MQTT_3_14_4_2(t *testing.T) { t.Parallel(); disconnectIsLast(t) }

func disconnectIsLast(t *testing.T) {
	t.Helper()
	everyFarewell(t, func(_ *testing.T, c *client, _ *got) { c.over() })
	r := start(t)
	w := r.watch("t")
	for range 20 { // what was asked in the same breath is not answered any more
		r.punishes(unsubscribe5(1, "#a")+"\xc0\x00"+publish5(2, "t", 1, "", "late")+subscribe5(2, "t", 0)+publish5(0, "t", 0, "", "late"), mqtt.TopicFilterInvalid)
	}
	w.hearsNothingBut(r, "t", "in time")
}
