package mqtt

import (
	"bytes"
	"slices"
	"testing"
)

// valueOf is a value that each property may have.
var valueOf = map[PropertyID][]byte{
	PropPayloadFormat: {1}, PropMessageExpiry: join(u32(1)), PropContentType: join(text("t")), PropResponseTopic: join(text("r")),
	PropCorrelationData: join(text("c")), PropSubscriptionID: {1}, PropSessionExpiry: join(u32(1)), PropAssignedClientID: join(text("i")),
	PropServerKeepAlive: join(u16(1)), PropAuthMethod: join(text("m")), PropAuthData: join(text("d")), PropRequestProblemInfo: {1},
	PropWillDelay: join(u32(1)), PropRequestResponseInfo: {1}, PropResponseInfo: join(text("i")), PropServerReference: join(text("s")),
	PropReasonString: join(text("r")), PropReceiveMax: join(u16(1)), PropTopicAliasMax: join(u16(1)), PropTopicAlias: join(u16(1)),
	PropMaxQoS: {1}, PropRetainAvailable: {1}, PropUser: join(text("n"), text("v")), PropMaxPacketBytes: join(u32(1)),
	PropWildcardAvailable: {1}, PropSubIDAvailable: {1}, PropSharedAvailable: {1},
}

// Table 2-4 of the standard once more, by packet. Every property is tried once, twice and cut, in every packet.
func TestV5_2_2_2_2_EveryPropertyInEveryPlace(t *testing.T) {
	answer := []PropertyID{PropReasonString, PropUser}
	will := []PropertyID{PropPayloadFormat, PropMessageExpiry, PropContentType, PropResponseTopic, PropCorrelationData, PropUser}
	for name, c := range map[string]struct {
		packet  func(block []byte) []byte
		allowed []PropertyID
	}{
		"CONNECT": {func(b []byte) []byte { return frame(0x10, text("MQTT"), 5, 2, u16(0), b, text("c")) },
			[]PropertyID{PropSessionExpiry, PropAuthMethod, PropAuthData, PropRequestProblemInfo, PropRequestResponseInfo, PropReceiveMax,
				PropTopicAliasMax, PropUser, PropMaxPacketBytes}},
		"will": {func(b []byte) []byte {
			return frame(0x10, text("MQTT"), 5, 6, u16(0), 0, text("c"), b, text("w"), text("x"))
		}, append(will, PropWillDelay)},
		"CONNACK": {func(b []byte) []byte { return frame(0x20, 0, 0, b) },
			[]PropertyID{PropSessionExpiry, PropAssignedClientID, PropServerKeepAlive, PropAuthMethod, PropAuthData, PropResponseInfo,
				PropServerReference, PropReasonString, PropReceiveMax, PropTopicAliasMax, PropMaxQoS, PropRetainAvailable, PropUser,
				PropMaxPacketBytes, PropWildcardAvailable, PropSubIDAvailable, PropSharedAvailable}},
		"PUBLISH":     {func(b []byte) []byte { return frame(0x30, text("a"), b) }, append(slices.Clone(will), PropSubscriptionID, PropTopicAlias)},
		"PUBACK":      {func(b []byte) []byte { return frame(0x40, u16(1), 0, b) }, answer},
		"PUBREC":      {func(b []byte) []byte { return frame(0x50, u16(1), 0, b) }, answer},
		"PUBREL":      {func(b []byte) []byte { return frame(0x62, u16(1), 0, b) }, answer},
		"PUBCOMP":     {func(b []byte) []byte { return frame(0x70, u16(1), 0, b) }, answer},
		"SUBSCRIBE":   {func(b []byte) []byte { return frame(0x82, u16(1), b, text("a"), 0) }, []PropertyID{PropSubscriptionID, PropUser}},
		"SUBACK":      {func(b []byte) []byte { return frame(0x90, u16(1), b, 0) }, answer},
		"UNSUBSCRIBE": {func(b []byte) []byte { return frame(0xA2, u16(1), b, text("a")) }, []PropertyID{PropUser}},
		"UNSUBACK":    {func(b []byte) []byte { return frame(0xB0, u16(1), b, 0) }, answer},
		"DISCONNECT":  {func(b []byte) []byte { return frame(0xE0, 0, b) }, append(answer, PropSessionExpiry, PropServerReference)},
		"AUTH":        {func(b []byte) []byte { return frame(0xF0, 0x18, b) }, append(answer, PropAuthMethod, PropAuthData)},
	} {
		for id := range 256 {
			tryProperty(t, name, c.packet, PropertyID(id), slices.Contains(c.allowed, PropertyID(id)))
		}
	}
}

func tryProperty(t *testing.T, name string, packet func([]byte) []byte, id PropertyID, allowed bool) {
	t.Helper()
	// Authentication data needs a method, and so does AUTH.
	var method []byte
	if id == PropAuthData && (name == "CONNECT" || name == "AUTH") || name == "AUTH" && id != PropAuthMethod {
		method = join(PropAuthMethod, text("m"))
	}
	value := valueOf[id]
	once, twice := Success, ProtocolError
	switch {
	case !allowed:
		once, twice = MalformedPacket, MalformedPacket
	case id == PropUser, id == PropSubscriptionID && name == "PUBLISH":
		twice = Success
	}
	var p Packet
	if got := Decode(packet(props(method, id, value)), V5, &p); got != once {
		t.Errorf("%s with property %#x: %s, want %s", name, byte(id), got, once)
	}
	if got := Decode(packet(props(method, id, value, id, value)), V5, &p); got != twice {
		t.Errorf("%s with property %#x twice: %s, want %s", name, byte(id), got, twice)
	}
	if len(value) > 0 {
		if got := Decode(packet(props(method, id, value[:len(value)-1])), V5, &p); got != MalformedPacket {
			t.Errorf("%s with property %#x cut: %s", name, byte(id), got)
		}
	}
}

func TestPropertiesAreRead(t *testing.T) {
	p := decoded(t, frame(0x3D, text("a/b"), u16(10), allProps.publish, "hello"), V5)
	x := &p.Props
	if x.PayloadFormat != 1 || x.MessageExpirySec != 60 || x.TopicAlias != 3 || string(x.ResponseTopic) != "r/t" || string(x.CorrelationData) != "\x00\x01" ||
		!slices.Equal(x.SubscriptionIDs, []uint32{129, 5}) || string(x.ContentType) != "text/plain" || x.UserCount != 2 ||
		!x.Has(PropTopicAlias) || x.Has(PropReasonString) || !bytes.Equal(x.Raw, allProps.publish[1:]) {
		t.Fatalf("properties of PUBLISH: %+v", x)
	}
	var users []string
	x.EachUser(func(name, value []byte) bool {
		users = append(users, string(name)+"="+string(value))
		return true
	})
	if !slices.Equal(users, []string{"k=v", "k=w"}) {
		t.Fatalf("user properties: %q", users)
	}
	x.EachUser(func(_, _ []byte) bool {
		users = users[1:]
		return false
	})
	if len(users) != 1 {
		t.Fatal("EachUser goes on after false")
	}
	c := &decoded(t, frame(0x20, 1, 0, allProps.connack), V5).Props
	if c.SessionExpirySec != 60 || c.ReceiveMax != 20 || c.MaxQoS != 1 || !c.Has(PropRetainAvailable) || c.RetainAvailable != 0 || c.MaxPacketBytes != 1000 ||
		string(c.AssignedClientID) != "auto-1" || c.TopicAliasMax != 3 || string(c.ReasonString) != "fine" || c.WildcardAvailable != 1 ||
		c.SharedAvailable != 1 || c.ServerKeepAliveSec != 30 || string(c.ResponseInfo) != "resp/" || string(c.ServerReference) != "other:1883" ||
		string(c.AuthMethod) != "SCRAM" || string(c.AuthData) != "ok" {
		t.Fatalf("properties of CONNACK: %+v", c)
	}
}

// A packet may be full of user properties; reading them is one pass and keeps nothing.
func TestPropertyBomb(t *testing.T) {
	var block []byte
	for range 100_000 {
		block = AppendUserProperty(block, []byte("k"), []byte("v"))
	}
	packet := frame(0x30, text("a"), props(block), "x")
	p := decoded(t, packet, V5)
	if p.Props.UserCount != 100_000 {
		t.Fatalf("%d user properties", p.Props.UserCount)
	}
	if n := testing.AllocsPerRun(5, func() { Decode(packet, V5, p) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
