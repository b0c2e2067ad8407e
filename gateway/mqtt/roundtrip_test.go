package mqtt

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	var again int
	for i := range samples {
		s := &samples[i]
		p := decoded(t, s.packet, s.v)
		packet, spoken := encoded(p)
		got := decoded(t, packet, s.v)
		if !spoken {
			continue
		}
		again++
		if a, b := describe(p), describe(got); a != b {
			t.Errorf("%s\n was %s\n now %s", s, a, b)
		}
	}
	if again < len(samples)*3/4 {
		t.Fatalf("only %d of %d samples make the way back", again, len(samples))
	}
}

// Every field of the Out structs arrives.
func TestAppendConnect(t *testing.T) {
	out := ConnectOut{ClientID: []byte("c1"), Username: []byte("u"), Password: []byte("p"), CleanStart: true, KeepAliveSec: 60,
		HasWill: true, WillRetain: true, WillQoS: 2, WillTopic: []byte("w/t"), WillPayload: []byte("gone"), WillProps: AppendContentType(nil, []byte("text")),
		WillDelaySec: 5, WillExpirySec: 6, HasWillExpiry: true, SessionExpirySec: 7, MaxPacketBytes: 8, ReceiveMax: 9, TopicAliasMax: 10,
		RequestResponseInfo: true, RefuseProblemInfo: true, AuthMethod: []byte("m"), AuthData: []byte("d"),
		UserProps: AppendUserProperty(nil, []byte("k"), bytes.Repeat([]byte("v"), 200))}
	for _, v := range []Version{V31, V311, V5} {
		p := decoded(t, AppendConnect([]byte("-"), v, &out)[1:], 0)
		c := &p.Connect
		if p.Version != v || string(c.ClientID) != "c1" || string(c.Username) != "u" || string(c.Password) != "p" || !c.HasUsername || !c.HasPassword ||
			!c.CleanStart || c.KeepAliveSec != 60 || !c.HasWill || !c.WillRetain || c.WillQoS != 2 || string(c.WillTopic) != "w/t" || string(c.WillPayload) != "gone" {
			t.Fatalf("%s: %+v", v, c)
		}
		if v != V5 {
			continue
		}
		x, w := &p.Props, &c.WillProps
		if w.WillDelaySec != 5 || w.MessageExpirySec != 6 || string(w.ContentType) != "text" || x.SessionExpirySec != 7 || x.MaxPacketBytes != 8 ||
			x.ReceiveMax != 9 || x.TopicAliasMax != 10 || x.RequestResponseInfo != 1 || !x.Has(PropRequestProblemInfo) || x.RequestProblemInfo != 0 ||
			string(x.AuthMethod) != "m" || string(x.AuthData) != "d" || x.UserCount != 1 {
			t.Fatalf("%+v\n%+v", x, w)
		}
	}
	empty := decoded(t, AppendConnect(nil, V311, &ConnectOut{HasUsername: true, HasPassword: true, CleanStart: true}), 0)
	if c := &empty.Connect; !c.HasUsername || !c.HasPassword || len(c.Username)+len(c.Password) != 0 {
		t.Fatalf("%+v", c)
	}
}

func TestAppendConnack(t *testing.T) {
	out := ConnackOut{SessionPresent: true, SessionExpirySec: 0, HasSessionExpiry: true, MaxPacketBytes: 1, ReceiveMax: 2, TopicAliasMax: 3,
		ServerKeepAliveSec: 0, HasServerKeepAlive: true, MaxQoS: 1, RetainUnavailable: true, WildcardUnavailable: true, SubIDUnavailable: true,
		SharedUnavailable: true, AssignedClientID: []byte("a"), ReasonString: bytes.Repeat([]byte("r"), 300), ServerReference: []byte("s"),
		AuthMethod: []byte("m"), AuthData: []byte("d"), ResponseInfo: []byte("i")}
	p := decoded(t, AppendConnack(nil, V5, &out), V5)
	x := &p.Props
	if !p.SessionPresent || !x.Has(PropSessionExpiry) || x.MaxPacketBytes != 1 || x.ReceiveMax != 2 || x.TopicAliasMax != 3 || !x.Has(PropServerKeepAlive) ||
		x.MaxQoS != 1 || !x.Has(PropMaxQoS) || !x.Has(PropRetainAvailable) || x.RetainAvailable != 0 || !x.Has(PropWildcardAvailable) || !x.Has(PropSubIDAvailable) ||
		!x.Has(PropSharedAvailable) || string(x.AssignedClientID) != "a" || len(x.ReasonString) != 300 || string(x.ServerReference) != "s" ||
		string(x.AuthMethod) != "m" || string(x.AuthData) != "d" || string(x.ResponseInfo) != "i" {
		t.Fatalf("%+v", p)
	}
	bare := AppendConnack(nil, V5, &ConnackOut{MaxQoS: 0xFF})
	if !bytes.Equal(bare, []byte{0x20, 3, 0, 0, 0}) {
		t.Fatalf("% x", bare)
	}
	for _, c := range []struct {
		v    Version
		out  ConnackOut
		want []byte
	}{
		{V31, ConnackOut{SessionPresent: true}, []byte{0x20, 2, 0, 0}},
		{V311, ConnackOut{SessionPresent: true}, []byte{0x20, 2, 1, 0}},
		{V311, ConnackOut{SessionPresent: true, Reason: NotAuthorized}, []byte{0x20, 2, 0, 5}},
		{V311, ConnackOut{Reason: UnsupportedProtocolVersion}, []byte{0x20, 2, 0, 1}},
		{V31, ConnackOut{Reason: ClientIdentifierNotValid}, []byte{0x20, 2, 0, 2}},
		{V311, ConnackOut{Reason: ServerBusy}, []byte{0x20, 2, 0, 3}},
		{V311, ConnackOut{Reason: BadUserNameOrPassword}, []byte{0x20, 2, 0, 4}},
		{V5, ConnackOut{SessionPresent: true, Reason: Banned, MaxQoS: 0xFF}, []byte{0x20, 3, 0, 0x8A, 0}},
	} {
		if got := AppendConnack(nil, c.v, &c.out); !bytes.Equal(got, c.want) {
			t.Errorf("%s %s: % x, want % x", c.v, c.out.Reason, got, c.want)
		}
	}
}

// The size that is promised is the size that comes, over every length of the length.
func TestPublishSize(t *testing.T) {
	for _, v := range []Version{V31, V311, V5} {
		for _, n := range []int{0, 1, 110, 120, 121, 122, 123, 124, 125, 126, 127, 128, 16370, 16383, 16384, 2097140, 2097152} {
			for qos := range byte(3) {
				out := PublishOut{Topic: []byte("t"), Payload: make([]byte, n), QoS: qos, PacketID: 7, Dup: true, Retain: true,
					TopicAlias: 3, HasExpiry: true, ExpirySec: 9, SubscriptionIDs: []uint32{1, 128, 16384, 2097152, varintMax}}
				packet := AppendPublish([]byte("-"), v, &out)[1:]
				if got := PublishSize(v, &out); got != len(packet) {
					t.Fatalf("%s, %d bytes, qos %d: size %d, packet %d", v, n, qos, got, len(packet))
				}
				p := decoded(t, packet, v)
				if len(p.Payload) != n || p.QoS != qos || p.Dup != (qos > 0) || !p.Retain || (v == V5) != slices.Equal(p.Props.SubscriptionIDs, out.SubscriptionIDs) {
					t.Fatalf("%s, %d bytes, qos %d: %.200s", v, n, qos, describe(p))
				}
			}
		}
	}
}

// The size that is promised is the size that comes, over every length of the lengths.
func TestAnswerSizes(t *testing.T) {
	for _, n := range []int{0, 1, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 16370, 16375, 16380, 16384, stringBytesMax} {
		words := bytes.Repeat([]byte("x"), n)
		for _, typ := range []Type{TypePuback, TypePubrec, TypePubrel, TypePubcomp} {
			r := NotAuthorized
			if typ >= TypePubrel {
				r = PacketIdentifierNotFound
			}
			packet := AppendAck([]byte("-"), typ, V5, 7, r, words)[1:]
			if p := decoded(t, packet, V5); len(packet) != AckSize(n) || p.Type != typ || p.Reason != r || p.PacketID != 7 || len(p.Props.ReasonString) != n {
				t.Fatalf("%s, %d bytes: size %d, packet %d", typ, n, AckSize(n), len(packet))
			}
		}
		packet := AppendDisconnect([]byte("-"), V5, NotAuthorized, words)[1:]
		if p := decoded(t, packet, V5); len(packet) != DisconnectSize(n) || len(p.Props.ReasonString) != n {
			t.Fatalf("DISCONNECT, %d bytes: size %d, packet %d", n, DisconnectSize(n), len(packet))
		}
		for _, reasons := range []int{1, 2, 130, 20000} {
			list := slices.Repeat([]Reason{NotAuthorized}, reasons)
			for _, packet := range [][]byte{AppendSuback(nil, V5, 7, list, words), AppendUnsuback(nil, V5, 7, list, words)} {
				if p := decoded(t, packet, V5); len(packet) != SubackSize(reasons, n) || len(p.Reasons) != reasons || len(p.Props.ReasonString) != n {
					t.Fatalf("%s, %d bytes, %d reasons: size %d, packet %d", p.Type, n, reasons, SubackSize(reasons, n), len(packet))
				}
			}
		}
	}
}

func TestAppendAnswers(t *testing.T) {
	reasons := []Reason{GrantedQoS1, NotAuthorized}
	for _, c := range []struct {
		name      string
		got, want []byte
	}{
		{"puback", AppendPuback(nil, V5, 0x102, Success), []byte{0x40, 2, 1, 2}},
		{"puback with reason", AppendPuback(nil, V5, 0x102, NoMatchingSubscribers), []byte{0x40, 3, 1, 2, 0x10}},
		{"puback 3.1.1", AppendPuback(nil, V311, 0x102, NotAuthorized), []byte{0x40, 2, 1, 2}},
		{"pubrec", AppendPubrec(nil, V5, 1, QuotaExceeded), []byte{0x50, 3, 0, 1, 0x97}},
		{"pubrel", AppendPubrel(nil, V311, 1, Success), []byte{0x62, 2, 0, 1}},
		{"pubcomp", AppendPubcomp(nil, V5, 1, PacketIdentifierNotFound), []byte{0x70, 3, 0, 1, 0x92}},
		{"puback with words", AppendAck(nil, TypePuback, V5, 1, NotAuthorized, []byte("x")), []byte{0x40, 8, 0, 1, 0x87, 4, 0x1F, 0, 1, 'x'}},
		{"puback with words 3.1.1", AppendAck(nil, TypePuback, V311, 1, NotAuthorized, []byte("x")), []byte{0x40, 2, 0, 1}},
		{"pubrel with words", AppendAck(nil, TypePubrel, V5, 1, PacketIdentifierNotFound, []byte("x")), []byte{0x62, 8, 0, 1, 0x92, 4, 0x1F, 0, 1, 'x'}},
		{"suback with words", AppendSuback(nil, V5, 1, reasons, []byte("x")), []byte{0x90, 9, 0, 1, 4, 0x1F, 0, 1, 'x', 1, 0x87}},
		{"unsuback with words", AppendUnsuback(nil, V5, 1, reasons[1:], []byte("x")), []byte{0xB0, 8, 0, 1, 4, 0x1F, 0, 1, 'x', 0x87}},
		{"suback", AppendSuback(nil, V5, 1, reasons, nil), []byte{0x90, 5, 0, 1, 0, 1, 0x87}},
		{"suback 3.1.1", AppendSuback(nil, V311, 1, reasons, []byte("x")), []byte{0x90, 4, 0, 1, 1, 0x80}},
		{"unsuback", AppendUnsuback(nil, V5, 1, []Reason{NoSubscriptionExisted}, nil), []byte{0xB0, 4, 0, 1, 0, 0x11}},
		{"unsuback 3.1", AppendUnsuback(nil, V31, 1, []Reason{NoSubscriptionExisted}, nil), []byte{0xB0, 2, 0, 1}},
		{"disconnect 3.1.1", AppendDisconnect(nil, V311, Success, nil), []byte{0xE0, 0}},
		{"disconnect 3.1.1 from a server", AppendDisconnect(nil, V311, ServerShuttingDown, []byte("bye")), nil},
		{"disconnect", AppendDisconnect(nil, V5, Success, nil), []byte{0xE0, 0}},
		{"disconnect with reason", AppendDisconnect(nil, V5, SessionTakenOver, nil), []byte{0xE0, 1, 0x8E}},
		{"redirect", AppendRedirect(nil, UseAnotherServer, []byte("x")), []byte{0xE0, 6, 0x9C, 4, 0x1C, 0, 1, 'x'}},
		{"redirect without an address", AppendRedirect(nil, ServerMoved, nil), []byte{0xE0, 2, 0x9D, 0}},
		{"disconnect with words and when to come again", AppendDisconnectLater(nil, ServerBusy, []byte("x"), AppendUserProperty(nil, []byte("a"), []byte("b"))), []byte{0xE0, 13, 0x89, 11, 0x1F, 0, 1, 'x', 0x26, 0, 1, 'a', 0, 1, 'b'}},
		{"disconnect with words", AppendDisconnect(nil, V5, ServerBusy, []byte("x")), []byte{0xE0, 6, 0x89, 4, 0x1F, 0, 1, 'x'}},
		{"auth", AppendAuth(nil, Success, nil, nil), []byte{0xF0, 0}},
		{"auth with data", AppendAuth(nil, ContinueAuthentication, []byte("m"), []byte("d")), []byte{0xF0, 10, 0x18, 8, 0x15, 0, 1, 'm', 0x16, 0, 1, 'd'}},
		{"ping", AppendPingresp(AppendPingreq(nil)), []byte{0xC0, 0, 0xD0, 0}},
		{"subscribe", AppendSubscribe(nil, V5, 1, []Filter{{Topic: []byte("a"), QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}}, 200),
			[]byte{0x82, 10, 0, 1, 3, 0x0B, 0xC8, 0x01, 0, 1, 'a', 0x2D}},
		{"subscribe 3.1.1", AppendSubscribe(nil, V311, 1, []Filter{{Topic: []byte("a"), QoS: 1, NoLocal: true}}, 200), []byte{0x82, 6, 0, 1, 0, 1, 'a', 1}},
		{"unsubscribe", AppendUnsubscribe(nil, V5, 1, []Filter{{Topic: []byte("a")}}), []byte{0xA2, 6, 0, 1, 0, 0, 1, 'a'}},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s: % x, want % x", c.name, c.got, c.want)
		}
	}
}

// A block longer than one length byte moves to make room.
func TestSealLong(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 129, 16383, 16384, 16385} {
		dst, mark := openBlock([]byte("before"))
		dst = seal(append(dst, strings.Repeat("x", n)...), mark)
		want := append(appendVarint([]byte("before"), n), strings.Repeat("x", n)...)
		if !bytes.Equal(dst, want) {
			t.Fatalf("%d bytes: % .40x", n, dst)
		}
	}
}

// A field without a form on the wire is our own fault and stops us before the peer reads nonsense.
func TestAppendTooLong(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("a topic of 65,536 bytes is written")
		}
	}()
	AppendPublish(nil, V311, &PublishOut{Topic: make([]byte, stringBytesMax+1)})
}
