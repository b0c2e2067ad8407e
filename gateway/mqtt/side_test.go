package mqtt

import "testing"

func TestSides(t *testing.T) {
	both := []Type{TypePublish, TypePuback, TypePubrec, TypePubrel, TypePubcomp}
	client := append([]Type{TypeConnect, TypeSubscribe, TypeUnsubscribe, TypePingreq, TypeDisconnect}, both...)
	server := append([]Type{TypeConnack, TypeSuback, TypeUnsuback, TypePingresp}, both...)
	for _, v := range []Version{V31, V311, V5} {
		c, s := set(client), set(server)
		if v == V5 {
			c[TypeAuth], s[TypeAuth], s[TypeDisconnect] = true, true, true
		}
		for typ := range Type(16) {
			if got := FromClient(typ, v); got != c[typ] {
				t.Errorf("%s %s from a client: %t", v, typ, got)
			}
			if got := fromServer(typ, v); got != s[typ] {
				t.Errorf("%s %s from a server: %t", v, typ, got)
			}
		}
	}
}

func set(types []Type) map[Type]bool {
	m := make(map[Type]bool)
	for _, t := range types {
		m[t] = true
	}
	return m
}

func TestSideFaults(t *testing.T) {
	method := props(PropAuthMethod, text("m"))
	for _, c := range []struct {
		name           string
		v              Version
		packet         []byte
		client, server Reason
	}{
		{"connect", 0, frame(0x10, text("MQTT"), 4, 2, u16(0), text("c")), Success, ProtocolError},
		{"connack", V311, frame(0x20, 0, 0), ProtocolError, Success},
		{"publish", V311, frame(0x30, text("a")), Success, Success},
		{"publish with subscription identifier", V5, frame(0x30, text("a"), props(PropSubscriptionID, 1)), ProtocolError, Success},
		{"pingreq", V311, frame(0xC0), Success, ProtocolError},
		{"pingresp", V311, frame(0xD0), ProtocolError, Success},
		{"disconnect", V311, frame(0xE0), Success, ProtocolError},
		{"disconnect", V5, frame(0xE0), Success, Success},
		{"disconnect with will", V5, frame(0xE0, DisconnectWithWillMessage), Success, ProtocolError},
		{"disconnect of a malformed packet", V5, frame(0xE0, MalformedPacket), Success, Success},
		{"disconnect of a server going down", V5, frame(0xE0, ServerShuttingDown), ProtocolError, Success},
		{"disconnect with session expiry", V5, frame(0xE0, 0, props(PropSessionExpiry, u32(1))), Success, ProtocolError},
		{"disconnect with server reference", V5, frame(0xE0, 0, props(PropServerReference, text("x"))), ProtocolError, Success},
		{"auth success", V5, frame(0xF0), ProtocolError, Success},
		{"auth continued", V5, frame(0xF0, 0x18, method), Success, Success},
		{"auth again", V5, frame(0xF0, 0x19, method), Success, ProtocolError},
	} {
		p := decoded(t, c.packet, c.v)
		if client, server := ClientFault(p), ServerFault(p); client != c.client || server != c.server {
			t.Errorf("%s %s: from a client %s, from a server %s", c.v, c.name, client, server)
		}
	}
}

func TestNames(t *testing.T) {
	if MalformedPacket.String() != "malformed packet" || MalformedPacket.Error() != "malformed packet" || Reason(0xFF).String() != "reserved reason code" ||
		Reason(3).String() != "reserved reason code" || V31.String() != "3.1" || V311.String() != "3.1.1" || V5.String() != "5" || Version(9).String() != "unknown" ||
		TypePublish.String() != "PUBLISH" || Type(99).String() != "reserved" {
		t.Error("a name is wrong")
	}
	for r := range 256 {
		if named := Reason(r).String() != "reserved reason code"; named != (reasonOn[r] != 0) {
			t.Errorf("reason %#x has a name: %t, a packet: %t", r, named, !named)
		}
		if Reason(r).Failed() != (r >= 0x80) {
			t.Errorf("reason %#x", r)
		}
		if code := ReturnCode311(Reason(r)); (code == 0) != (r == 0) || code > returnCodeMax {
			t.Errorf("reason %#x is return code %d", r, code)
		}
	}
}
