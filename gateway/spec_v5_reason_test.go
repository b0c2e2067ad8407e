package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// failing has for each packet that can tell a failure a device that asks for it, and what the packet says.
var failing = map[mqtt.Type]struct {
	refused refusal
	text    string
	provoke func(r *rig, c *client, mods ...func(*mqtt.ConnectOut))
}{
	mqtt.TypeConnack: {refused: refusedWillLevels, provoke: func(_ *rig, c *client, mods ...func(*mqtt.ConnectOut)) {
		c.write(c.connectPacket("why", append(mods, func(o *mqtt.ConnectOut) {
			o.HasWill, o.WillTopic, o.WillPayload = true, []byte(tooDeep), []byte("gone")
		})...))
	}},
	mqtt.TypePuback:     {refused: refusedTopicLevels, provoke: sending(publishing(tooDeep, 1, 1))},
	mqtt.TypePubrec:     {refused: refusedTopicLevels, provoke: sending(publishing(tooDeep, 2, 1))},
	mqtt.TypePubrel:     {text: textIDUnknown, provoke: sending(mqtt.AppendPubrec(nil, mqtt.V5, 99, mqtt.Success))},
	mqtt.TypePubcomp:    {text: textIDUnknown, provoke: sending(mqtt.AppendPubrel(nil, mqtt.V5, 99, mqtt.Success))},
	mqtt.TypeSuback:     {refused: refusedFilterLevels, provoke: sending(mqtt.AppendSubscribe(nil, mqtt.V5, 9, filtersOf("fine", tooDeep, tooLong), 0))},
	mqtt.TypeUnsuback:   {refused: refusedFilterLevels, provoke: sending(mqtt.AppendUnsubscribe(nil, mqtt.V5, 9, filtersOf("fine", tooDeep, tooLong)))},
	mqtt.TypeDisconnect: {text: reasonTexts[reasonTopicAlias], provoke: sending(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte("x"), TopicAlias: 999}))},
}

// tooDeep and tooLong are topics beyond the limits of startShallow.
var tooDeep, tooLong = strings.Repeat("d/", 8), strings.Repeat("l", 101)

func startShallow(t *testing.T) *rig {
	return start(t, func(c *Config) { c.MQTT.TopicLevelsMax, c.MQTT.TopicBytesMax, c.MQTT.FiltersMax = 8, 100, 20 })
}

func publishing(topic string, qos byte, id uint16) []byte {
	return mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{Topic: []byte(topic), QoS: qos, PacketID: id})
}

func filtersOf(topics ...string) (list []mqtt.Filter) {
	for _, topic := range topics {
		list = append(list, mqtt.Filter{Topic: []byte(topic)})
	}
	return list
}

// sending provokes with a packet after CONNECT.
func sending(packet []byte) func(r *rig, c *client, mods ...func(*mqtt.ConnectOut)) {
	return func(r *rig, c *client, mods ...func(*mqtt.ConnectOut)) {
		r.connectOn(c, "why", mods...)
		c.write(packet)
	}
}

// fails is the packet of type ty that tells a failure.
func (r *rig) fails(ty mqtt.Type, way string, mods ...func(*mqtt.ConnectOut)) *got {
	r.t.Helper()
	c := r.via(way, mqtt.V5)
	failing[ty].provoke(r, c, mods...)
	g := c.expect(ty)
	c.cut()
	return g
}

// reasonOfPacket is what it says, by the table.
func reasonOfPacket(ty mqtt.Type) string {
	if failing[ty].text != "" {
		return failing[ty].text
	}
	return failing[ty].refused.text()
}

// fitsOrIsLeftOut: the packet comes with its reason string to a client for which it is just small enough, and without to one
// whose Maximum Packet Size is one byte less. User properties are never there.
func fitsOrIsLeftOut(t *testing.T, ty mqtt.Type) {
	r := startShallow(t)
	text := reasonOfPacket(ty)
	for _, way := range transports {
		whole := r.fails(ty, way)
		if got := string(whole.Props.ReasonString); got != text || text == "" {
			t.Fatalf("%s %v says %q, want %q", way, ty, got, text)
		}
		for _, tc := range []struct {
			max  int
			want string
		}{{whole.size, text}, {whole.size - 1, ""}} {
			g := r.fails(ty, way, func(o *mqtt.ConnectOut) { o.MaxPacketBytes = uint32(tc.max) })
			if got := string(g.Props.ReasonString); got != tc.want || g.size > tc.max || g.Props.UserCount != 0 {
				t.Errorf("%s %v of %d bytes to a client that takes %d says %q with %d user properties, want %q", way, ty, g.size, tc.max, got, g.Props.UserCount, tc.want)
			}
			if g.Reason != whole.Reason || fmt.Sprint(g.Reasons) != fmt.Sprint(whole.Reasons) {
				t.Errorf("%s %v: reason %v %v, want %v %v", way, ty, g.Reason, g.Reasons, whole.Reason, whole.Reasons)
			}
		}
	}
}

// noUserProperties: no answer has any, to whichever client.
func noUserProperties(t *testing.T, ty mqtt.Type) {
	r := startShallow(t)
	for _, way := range transports {
		for _, max := range []uint32{0, 1 << 20, 64} {
			if g := r.fails(ty, way, func(o *mqtt.ConnectOut) { o.MaxPacketBytes = max }); g.Props.UserCount != 0 {
				t.Errorf("%s %v has %d user properties", way, ty, g.Props.UserCount)
			}
		}
	}
}

func Test_v5_MQTT_3_2_2_19_Words(t *testing.T) { t.Parallel(); fitsOrIsLeftOut(t, mqtt.TypeConnack) }
func Test_v5_MQTT_3_4_2_2_Words(t *testing.T)  { t.Parallel(); fitsOrIsLeftOut(t, mqtt.TypePuback) }
func Test_v5_MQTT_3_5_2_2_Words(t *testing.T)  { t.Parallel(); fitsOrIsLeftOut(t, mqtt.TypePubrec) }
func Test_v5_MQTT_3_6_2_2_Words(t *testing.T)  { t.Parallel(); fitsOrIsLeftOut(t, mqtt.TypePubrel) }
func Test_v5_MQTT_3_7_2_2_Words(t *testing.T)  { t.Parallel(); fitsOrIsLeftOut(t, mqtt.TypePubcomp) }
func Test_v5_MQTT_3_9_2_1_Words(t *testing.T)  { t.Parallel(); fitsOrIsLeftOut(t, mqtt.TypeSuback) }
func Test_v5_MQTT_3_11_2_1_Words(t *testing.T) { t.Parallel(); fitsOrIsLeftOut(t, mqtt.TypeUnsuback) }
func Test_v5_MQTT_3_14_2_3_Words(t *testing.T) { t.Parallel(); fitsOrIsLeftOut(t, mqtt.TypeDisconnect) }

func Test_v5_MQTT_3_2_2_20_Words(t *testing.T) { t.Parallel(); noUserProperties(t, mqtt.TypeConnack) }
func Test_v5_MQTT_3_4_2_3_Words(t *testing.T)  { t.Parallel(); noUserProperties(t, mqtt.TypePuback) }
func Test_v5_MQTT_3_5_2_3_Words(t *testing.T)  { t.Parallel(); noUserProperties(t, mqtt.TypePubrec) }
func Test_v5_MQTT_3_6_2_3_Words(t *testing.T)  { t.Parallel(); noUserProperties(t, mqtt.TypePubrel) }
func Test_v5_MQTT_3_7_2_3_Words(t *testing.T)  { t.Parallel(); noUserProperties(t, mqtt.TypePubcomp) }
func Test_v5_MQTT_3_9_2_2_Words(t *testing.T)  { t.Parallel(); noUserProperties(t, mqtt.TypeSuback) }
func Test_v5_MQTT_3_11_2_2_Words(t *testing.T) { t.Parallel(); noUserProperties(t, mqtt.TypeUnsuback) }
func Test_v5_MQTT_3_14_2_4_Words(t *testing.T) {
	t.Parallel()
	noUserProperties(t, mqtt.TypeDisconnect)
}

// A client that wants no problem information gets the reason codes, and words on CONNACK and DISCONNECT only; user
// properties of a PUBLISH still reach it.
func Test_v5_MQTT_3_1_2_29(t *testing.T) {
	t.Parallel()
	r := startShallow(t)
	terse := func(o *mqtt.ConnectOut) { o.RefuseProblemInfo = true }
	for ty := range failing {
		want := ""
		if ty == mqtt.TypeConnack || ty == mqtt.TypeDisconnect {
			want = reasonOfPacket(ty)
		}
		for _, way := range transports {
			g := r.fails(ty, way, terse)
			if got := string(g.Props.ReasonString); got != want || g.Props.UserCount != 0 {
				t.Errorf("%s %v says %q with %d user properties, want %q", way, ty, got, g.Props.UserCount, want)
			}
		}
	}
	c, _ := r.connectOn(r.via("tcp", mqtt.V5), "c", terse)
	c.subscribe(0, "x")
	r.connect(mqtt.V5, "p").publish(1, "x", "x", func(p *mqtt.PublishOut) { p.Props = mqtt.AppendUserProperty(nil, []byte("k"), []byte("v")) })
	if g := c.message(); g.Props.UserCount != 1 {
		t.Errorf("%d user properties arrive", g.Props.UserCount)
	}
	again := r.connect(mqtt.V5, "c") // what the connection before wanted is over with it
	again.write(publishing(tooDeep, 1, 1))
	if g := again.expect(mqtt.TypePuback); len(g.Props.ReasonString) == 0 {
		t.Error("no words after a reconnect that asks for them")
	}
}

// TestReasonStringsOff: without them the codes are the same; a 3.1.1 client has no place for either.
func TestReasonStringsOff(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) {
		c.MQTT.TopicLevelsMax, c.MQTT.TopicBytesMax, c.MQTT.ReasonStrings = 8, 100, false
	})
	for ty := range failing {
		if g := r.fails(ty, "tcp"); len(g.Props.ReasonString) > 0 {
			t.Errorf("%v says %q", ty, g.Props.ReasonString)
		}
	}
	old := r.connect(mqtt.V311, "old")
	old.publish(1, tooDeep, "x")
	if got := old.subscribe(0, tooDeep); got[0] != mqtt.UnspecifiedError {
		t.Errorf("SUBACK %v", got)
	}
	old.ping()
}

// TestPacketLimitOutlivesItsBreach: a client that is closed because an answer does not fit gets nothing larger until then,
// and a DISCONNECT only if that fits.
func TestPacketLimitOutlivesItsBreach(t *testing.T) {
	t.Parallel()
	r := start(t)
	for _, way := range transports {
		for _, answer := range []int{30, 100} {
			c, ack := r.connectOn(r.via(way, mqtt.V5), "c", func(o *mqtt.ConnectOut) { o.MaxPacketBytes = 30 })
			if ack.size > 30 {
				t.Fatalf("CONNACK of %d bytes", ack.size)
			}
			c.subscribe(0, "x")
			list := strings.Split(strings.Repeat("x ", answer)+"x", " ")
			large := mqtt.PublishOut{Topic: []byte("x"), Payload: make([]byte, 100)}
			c.write(mqtt.AppendPublish(mqtt.AppendSubscribe(nil, mqtt.V5, 2, filtersOf(list...), 0), mqtt.V5, &large))
			if g := c.expect(mqtt.TypeDisconnect); g.Reason != mqtt.PacketTooLarge || g.size > 30 {
				t.Errorf("%s: DISCONNECT %v of %d bytes", way, g.Reason, g.size)
			}
			c.end()
		}
		c := r.via(way, mqtt.V5)
		c.write(c.connectPacket("c", func(o *mqtt.ConnectOut) { o.MaxPacketBytes = 2 }))
		if g, err := c.next(); err == nil {
			t.Errorf("%s: %v of %d bytes to a client that takes 2", way, g.Type, g.size)
		}
	}
}

// TestReasonsOfMessages: a message that is not taken gets the cause, which its reason code alone does not tell.
func TestReasonsOfMessages(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) {
		c.MQTT.TopicLevelsMax, c.MQTT.TopicBytesMax, c.MQTT.StrictMapping = 8, 100, true
	})
	c := r.connect(mqtt.V5, "c")
	text := mqtt.AppendPayloadFormat(nil, 1)
	for _, tc := range []struct {
		topic, payload string
		alias          uint16
		props          []byte
		want           refusal
	}{
		{tooDeep, "", 0, nil, refusedTopicLevels},
		{tooLong, "", 0, nil, refusedTopicBytes},
		{"a b", "", 0, nil, refusedTopicMapping},
		{"$SYS/x", "", 0, nil, refusedReserved},
		{"x", "\xff", 0, text, refusedPayloadFormat},
		{"x", "", 0, mqtt.AppendUserProperty(nil, []byte("k"), []byte(strings.Repeat("v", 65535))), refusedForNATS},
		{tooLong, "", 1, nil, refusedTopicBytes},
		{"", "", 1, nil, refusedAlias},
	} {
		for qos, ty := range map[byte]mqtt.Type{1: mqtt.TypePuback, 2: mqtt.TypePubrec} {
			c.write(mqtt.AppendPublish(nil, mqtt.V5, &mqtt.PublishOut{
				Topic: []byte(tc.topic), Payload: []byte(tc.payload), Props: tc.props, TopicAlias: tc.alias, QoS: qos, PacketID: 1}))
			if g := c.expect(ty); g.Reason != tc.want.code() || string(g.Props.ReasonString) != tc.want.text() {
				t.Errorf("%.20q: %v %v %q, want %v %q", tc.topic, ty, g.Reason, g.Props.ReasonString, tc.want.code(), tc.want.text())
			}
		}
	}
}

// TestReasonsOfFilters: the words are about the first filter that is refused, whoever refused it.
func TestReasonsOfFilters(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) {
		c.MQTT.TopicLevelsMax, c.MQTT.TopicBytesMax, c.MQTT.FiltersMax, c.Limits.SubscriptionsMax = 8, 100, 4, 2
	})
	c := r.connect(mqtt.V5, "c")
	for _, tc := range []struct {
		filters []string
		code    mqtt.Reason
		text    string
	}{
		{[]string{"a", tooLong, tooDeep}, mqtt.TopicFilterInvalid, refusedFilterBytes.text()},
		{[]string{tooDeep, tooLong}, mqtt.TopicFilterInvalid, refusedFilterLevels.text()},
		{[]string{"a", "b", "c", tooLong}, mqtt.QuotaExceeded, textSubscriptions},
		{[]string{"a", "a", "a", "a", "a"}, mqtt.QuotaExceeded, refusedFilterCount.text()},
		{[]string{"a", "b"}, mqtt.Success, ""},
	} {
		c.write(mqtt.AppendSubscribe(nil, mqtt.V5, 1, filtersOf(tc.filters...), 0))
		g := c.expect(mqtt.TypeSuback)
		if got := string(g.Props.ReasonString); got != tc.text || firstFailure(g.Reasons) != tc.code {
			t.Errorf("%.40q: SUBACK %v %q, want %v %q", tc.filters, g.Reasons, got, tc.code, tc.text)
		}
	}
	c.write(mqtt.AppendUnsubscribe(nil, mqtt.V5, 1, filtersOf("a", "none", "a", "a", "a")))
	// 0x97 has no place in UNSUBACK, and a subscription that was not there is no failure.
	g := c.expect(mqtt.TypeUnsuback)
	if want := []mqtt.Reason{0, mqtt.NoSubscriptionExisted, mqtt.NoSubscriptionExisted, mqtt.NoSubscriptionExisted, mqtt.ImplementationSpecificError}; fmt.Sprint(g.Reasons) != fmt.Sprint(want) ||
		string(g.Props.ReasonString) != refusedUnsubscribeCount.text() {
		t.Errorf("UNSUBACK %v %q", g.Reasons, g.Props.ReasonString)
	}
}

func firstFailure(list []mqtt.Reason) mqtt.Reason {
	for _, r := range list {
		if r.Failed() {
			return r
		}
	}
	return mqtt.Success
}

// TestReasonsOfTheEnd: DISCONNECT says what was wrong with the packet.
func TestReasonsOfTheEnd(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.RetainAvailable, c.MQTT.ReceiveMax = false, 1 })
	for _, tc := range []struct {
		name, bytes string
		code        mqtt.Reason
		text        string
	}{
		{"second CONNECT", connect5(0x02, "", str("again")), mqtt.ProtocolError, textSecondConnect},
		{"AUTH", fixed(0xf0, "\x19"+block("\x15"+str("X"))), mqtt.ProtocolError, textAuthUnasked},
		{"a server's packet", "\xd0\x00", mqtt.ProtocolError, "PINGRESP is a server's packet"},
		{"malformed", fixed(0x82, "\x00\x01\x00"+str("a")), mqtt.MalformedPacket, malformedTexts[mqtt.TypeSubscribe]},
		{"packet type 0", "\x00\x00", mqtt.MalformedPacket, reasonTexts[reasonMalformed]},
		{"wildcard", fixed(0x30, str("a/+")+"\x00"), mqtt.TopicNameInvalid, reasonTexts[reasonTopic]},
		{"filter", fixed(0x82, "\x00\x01\x00"+str("a/#/b")+"\x00"), mqtt.TopicFilterInvalid, reasonTexts[reasonFilter]},
		{"no local on a shared subscription", fixed(0x82, "\x00\x01\x00"+str("$share/g/a")+"\x04"), mqtt.ProtocolError, protocolTexts[mqtt.TypeSubscribe]},
		{"too large", "\x30\xff\xff\xff\x7f", mqtt.PacketTooLarge, reasonTexts[reasonTooLarge]},
		{"unknown alias", fixed(0x30, str("")+block("\x23\x00\x01")), mqtt.ProtocolError, textAliasUnknown},
		{"retain", fixed(0x31, str("a")+"\x00"), mqtt.RetainNotSupported, reasonTexts[reasonRetain]},
		{"receive maximum", fixed(0x34, str("a")+"\x00\x01\x00") + fixed(0x34, str("a")+"\x00\x02\x00"), mqtt.ReceiveMaximumExceeded, reasonTexts[reasonReceiveMax]},
		{"expiry prolonged", fixed(0xe0, "\x00"+block("\x11\x00\x00\x00\x01")), mqtt.ProtocolError, textExpiryProlonged},
	} {
		for _, way := range transports {
			c, _ := r.connectOn(r.via(way, mqtt.V5), "c")
			c.write([]byte(tc.bytes))
			g := c.must()
			for g.Type == mqtt.TypePubrec {
				g = c.must()
			}
			if g.Type != mqtt.TypeDisconnect || g.Reason != tc.code || string(g.Props.ReasonString) != tc.text {
				t.Errorf("%s, %s: %v %v %q, want %v %q", way, tc.name, g.Type, g.Reason, g.Props.ReasonString, tc.code, tc.text)
			}
			c.end()
		}
	}
	sub := r.connect(mqtt.V5, "sub")
	sub.subscribe(2, "q2")
	r.connect(mqtt.V5, "pub").publish(2, "q2", "x")
	g := sub.expect(mqtt.TypePublish)
	sub.write(mqtt.AppendPuback(nil, mqtt.V5, g.PacketID, mqtt.Success))
	if g := sub.expect(mqtt.TypeDisconnect); string(g.Props.ReasonString) != textWrongAck {
		t.Errorf("PUBACK for QoS 2: %q", g.Props.ReasonString)
	}
	a := r.connect(mqtt.V5, "one")
	r.connect(mqtt.V5, "one")
	if g := a.expect(mqtt.TypeDisconnect); string(g.Props.ReasonString) != reasonTexts[reasonTakenOver] {
		t.Errorf("taken over: %q", g.Props.ReasonString)
	}
}

// TestReasonsOfConnack: the same for a CONNECT that is refused.
func TestReasonsOfConnack(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Session.Max, c.Loops, c.MQTT.RetainAvailable = 1, 1, false })
	r.connect(mqtt.V5, "first")
	for _, tc := range []struct {
		name, bytes string
		code        mqtt.Reason
		text        string
	}{
		{"malformed", connect5(0x03, "", str("c")), mqtt.MalformedPacket, malformedTexts[mqtt.TypeConnect]},
		{"against a rule", connect5(0x22, "", str("c")), mqtt.ProtocolError, protocolTexts[mqtt.TypeConnect]},
		{"level 6", fixed(0x10, str("MQTT")+"\x06\x02\x00\x3c\x00"+str("c")), mqtt.UnsupportedProtocolVersion, packetText(mqtt.TypeConnect, mqtt.UnsupportedProtocolVersion)},
		{"auth method", connect5(0x02, "\x15"+str("X-NONE"), str("c")), mqtt.BadAuthenticationMethod, refusedAuthMethod.text()},
		{"will topic", connect5(0x06, "", str("c")+"\x00"+str("w/#")+str("")), mqtt.TopicNameInvalid, packetText(mqtt.TypeConnect, mqtt.TopicNameInvalid)},
		{"reserved will topic", connect5(0x06, "", str("c")+"\x00"+str("$SYS/w")+str("")), mqtt.TopicNameInvalid, refusedWillReserved.text()},
		{"retained will", connect5(0x26, "", str("c")+"\x00"+str("w")+str("")), mqtt.RetainNotSupported, refusedWillRetain.text()},
		{"will that is not its format", connect5(0x06, "", str("c")+block("\x01\x01")+str("w")+str("\xff")), mqtt.PayloadFormatInvalid, refusedWillFormat.text()},
		{"no room", connect5(0x02, "", str("second")), mqtt.QuotaExceeded, refusedSessions.text()},
	} {
		for _, way := range transports {
			c := r.via(way, mqtt.V5)
			c.write([]byte(tc.bytes))
			if g := c.expect(mqtt.TypeConnack); g.Reason != tc.code || string(g.Props.ReasonString) != tc.text {
				t.Errorf("%s, %s: %v %q, want %v %q", way, tc.name, g.Reason, g.Props.ReasonString, tc.code, tc.text)
			}
			c.end()
		}
	}
}
