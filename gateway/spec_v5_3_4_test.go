package gateway

import (
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// PUBACK, PUBREC, PUBREL and PUBCOMP.

// Their reason codes are those of their tables.

func Test_v5_MQTT_3_4_2_1(t *testing.T) { t.Parallel(); answersWithListedReasons(t, mqtt.TypePuback) }
func Test_v5_MQTT_3_5_2_1(t *testing.T) { t.Parallel(); answersWithListedReasons(t, mqtt.TypePubrec) }
func Test_v5_MQTT_3_6_2_1(t *testing.T) { t.Parallel(); answersWithListedReasons(t, mqtt.TypePubrel) }
func Test_v5_MQTT_3_7_2_1(t *testing.T) { t.Parallel(); answersWithListedReasons(t, mqtt.TypePubcomp) }

// Neither a reason string nor user properties make them longer than the client takes.

func Test_v5_MQTT_3_4_2_2(t *testing.T) { t.Parallel(); answersWithinMaximum(t, mqtt.TypePuback) }
func Test_v5_MQTT_3_4_2_3(t *testing.T) { t.Parallel(); answersWithinMaximum(t, mqtt.TypePuback) }
func Test_v5_MQTT_3_5_2_2(t *testing.T) { t.Parallel(); answersWithinMaximum(t, mqtt.TypePubrec) }
func Test_v5_MQTT_3_5_2_3(t *testing.T) { t.Parallel(); answersWithinMaximum(t, mqtt.TypePubrec) }
func Test_v5_MQTT_3_6_2_2(t *testing.T) { t.Parallel(); answersWithinMaximum(t, mqtt.TypePubrel) }
func Test_v5_MQTT_3_6_2_3(t *testing.T) { t.Parallel(); answersWithinMaximum(t, mqtt.TypePubrel) }
func Test_v5_MQTT_3_7_2_2(t *testing.T) { t.Parallel(); answersWithinMaximum(t, mqtt.TypePubcomp) }
func Test_v5_MQTT_3_7_2_3(t *testing.T) { t.Parallel(); answersWithinMaximum(t, mqtt.TypePubcomp) }

// A client that uses a reason code of another packet breaks the protocol.

func Test_v5_MQTT_3_4_2_1_Client(t *testing.T) {
	t.Parallel()
	foreignReasons(t, 0x40, mqtt.TypePuback)
}
func Test_v5_MQTT_3_5_2_1_Client(t *testing.T) {
	t.Parallel()
	foreignReasons(t, 0x50, mqtt.TypePubrec)
}
func Test_v5_MQTT_3_6_2_1_Client(t *testing.T) {
	t.Parallel()
	foreignReasons(t, 0x62, mqtt.TypePubrel)
}
func Test_v5_MQTT_3_7_2_1_Client(t *testing.T) {
	t.Parallel()
	foreignReasons(t, 0x70, mqtt.TypePubcomp)
}

func foreignReasons(t *testing.T, first byte, ty mqtt.Type) {
	t.Helper()
	r := start(t)
	own := map[byte]bool{}
	for _, code := range reasons5[ty] {
		own[code] = true
	}
	c := r.connect(mqtt.V5, "c")
	for _, code := range reasons5[ty] {
		c.send(fixed(first, u16(77)+string([]byte{code})))
	}
	c.write(mqtt.AppendPingreq(nil))
	for c.must().Type != mqtt.TypePingresp { // PUBREC and PUBREL are answered
	}
	for _, code := range []byte{
		0x01, 0x02, 0x04, 0x10, 0x11, 0x18, 0x19, 0x7F, 0x80, 0x81, 0x82, 0x83, 0x87, 0x8E, 0x90, 0x91, 0x92, 0x93, 0x97, 0x99, 0xA2, 0xFF,
	} {
		if !own[code] {
			r.punishes(fixed(first, u16(77)+string([]byte{code})), mqtt.ProtocolError)
		}
	}
}

// Test_v5_MQTT_3_6_1_1: PUBREL has the flags 0010, and no others.
func Test_v5_MQTT_3_6_1_1(t *testing.T) { t.Parallel(); flags0010(t, 0x60, u16(1)) }

// flags0010 tries a packet with every other value of its flags.
func flags0010(t *testing.T, first byte, body string) {
	t.Helper()
	r := start(t)
	c := r.connect(mqtt.V5, "c")
	c.send(fixed(first|2, body))
	if g := c.must(); g.Type == mqtt.TypeDisconnect {
		t.Errorf("DISCONNECT %v to the right flags", g.Reason)
	}
	for flags := range byte(16) {
		if flags != 2 {
			r.punishes(fixed(first|flags, body), mqtt.MalformedPacket)
		}
	}
}

// Test_v5_MQTT_3_6_2_1_Sent: the PUBREL that a message of the server's is ended with says success.
func Test_v5_MQTT_3_6_2_1_Sent(t *testing.T) {
	t.Parallel()
	r := start(t)
	c := r.watch("t")
	r.connect(mqtt.V5, "p").publish(2, "t", "x")
	g := c.expect(mqtt.TypePublish)
	for range 2 { // PUBREC may come twice
		c.write(mqtt.AppendPubrec(nil, c.v, g.PacketID, mqtt.Success))
		if rel := c.expect(mqtt.TypePubrel); rel.PacketID != g.PacketID || rel.Reason != mqtt.Success {
			t.Errorf("PUBREL %d %v", rel.PacketID, rel.Reason)
		}
	}
	c.write(mqtt.AppendPubcomp(nil, c.v, g.PacketID, mqtt.Success))
	c.ping()
}
