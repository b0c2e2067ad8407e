package gateway

import (
	"slices"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// Reason strings: they are there, and yield to what the client asks for.

// Test_v5_MQTT_3_1_2_29_Told: who does not refuse problem information is told what is wrong in words, with every answer but the ones of
// QoS 2's second half.
func Test_v5_MQTT_3_1_2_29_Told(t *testing.T) {
	t.Parallel()
	r := start(t)
	for what, props := range map[string]string{"absent": "", "1": "\x17\x01"} {
		for _, p := range provocations {
			if p.answer == mqtt.TypePubrel || p.answer == mqtt.TypePubcomp {
				continue
			}
			c, _ := r.accepts(connect5(0x02, props, str("c")))
			c.send(p.packet)
			if g := c.expect(p.answer); refusing(g) && len(g.Props.ReasonString) == 0 {
				t.Errorf("request problem information %s: %s has no reason string", what, p.name)
			}
		}
	}
}

// refusing tells whether an answer says that something failed.
func refusing(g *got) bool {
	return g.Reason.Failed() || slices.ContainsFunc(g.Reasons, mqtt.Reason.Failed)
}

// What has a reason string is sent without it to a client for which it would be too large.

func Test_v5_MQTT_3_4_2_2_Told(t *testing.T)  { t.Parallel(); reasonStringYields(t, mqtt.TypePuback) }
func Test_v5_MQTT_3_5_2_2_Told(t *testing.T)  { t.Parallel(); reasonStringYields(t, mqtt.TypePubrec) }
func Test_v5_MQTT_3_9_2_1_Told(t *testing.T)  { t.Parallel(); reasonStringYields(t, mqtt.TypeSuback) }
func Test_v5_MQTT_3_11_2_1_Told(t *testing.T) { t.Parallel(); reasonStringYields(t, mqtt.TypeUnsuback) }
func Test_v5_MQTT_3_14_2_3_Told(t *testing.T) {
	t.Parallel()
	reasonStringYields(t, mqtt.TypeDisconnect)
}

func reasonStringYields(t *testing.T, answer mqtt.Type) {
	t.Helper()
	provoked(t, answer, func(r *rig, p provocation) {
		ask := func(size uint32) (*got, error) {
			c := r.open(mqtt.V5, r.mqtt)
			c.write(c.connectPacket("c", func(o *mqtt.ConnectOut) { o.MaxPacketBytes = size }))
			if _, err := c.next(); err != nil {
				return nil, err
			}
			c.send(p.packet)
			return c.expect(answer), nil
		}
		whole, err := ask(1000)
		if err != nil {
			r.t.Fatal(err)
		}
		switch {
		case len(whole.Props.ReasonString) > 0:
		case refusing(whole):
			r.t.Fatal("no reason string")
		default:
			return // UNSUBACK 0x11 is no failure
		}
		size := uint32(len(whole.raw))
		if same, err := ask(size); err != nil || len(same.raw) != len(whole.raw) {
			r.t.Errorf("one that fits exactly is not sent whole: %v", err)
		}
		switch less, err := ask(size - 1); {
		case err != nil:
			r.t.Errorf("CONNACK does not fit into %d bytes", size-1)
		case less.Props.Has(mqtt.PropReasonString) || less.Reason != whole.Reason || len(less.Reasons) != len(whole.Reasons):
			r.t.Errorf("%x", less.raw)
		}
	})
}

// Test_v5_MQTT_3_2_2_19_Told: the same for CONNACK.
func Test_v5_MQTT_3_2_2_19_Told(t *testing.T) {
	t.Parallel()
	r := start(t)
	refused := func(size byte) string {
		return connect5(0x06, "\x27\x00\x00\x00"+string([]byte{size}), str("c")+block("")+str("$JS")+str("x"))
	}
	whole := r.refuses(refused(255), mqtt.TopicNameInvalid)
	if len(whole.Props.ReasonString) == 0 {
		t.Fatal("no reason string")
	}
	size := byte(len(whole.raw))
	if same := r.refuses(refused(size), mqtt.TopicNameInvalid); len(same.raw) != len(whole.raw) {
		t.Error("one that fits exactly is not sent whole")
	}
	if less := r.refuses(refused(size-1), mqtt.TopicNameInvalid); less.Props.Has(mqtt.PropReasonString) || len(less.raw) >= int(size) {
		t.Errorf("%x", less.raw)
	}
}
