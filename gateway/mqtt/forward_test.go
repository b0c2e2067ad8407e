package mqtt

import (
	"bytes"
	"testing"
)

// What a server must pass on is passed on, in order and nothing else. [MQTT-3.3.2-4] [MQTT-3.3.2-15]
// [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
func TestForward(t *testing.T) {
	p := decoded(t, frame(0x3D, text("a/b"), u16(10), allProps.publish, "hello"), V5)
	block := p.Props.AppendForward([]byte("-"))[1:]
	want := join(PropPayloadFormat, 1, PropResponseTopic, text("r/t"), PropCorrelationData, text("\x00\x01"), PropUser, text("k"), text("v"),
		PropContentType, text("text/plain"), PropUser, text("k"), text("w"))
	if !bytes.Equal(block, want) {
		t.Fatalf("block % x, want % x", block, want)
	}
	will := decoded(t, frame(0x10, text("MQTT"), 5, 0x06, u16(60), 0, text("c1"), allProps.will, text("w/t"), text("")), V5)
	if w := will.Connect.WillProps; w.WillDelaySec != 5 || w.MessageExpirySec != 60 || bytes.Contains(w.AppendForward(nil), join(PropWillDelay, u32(5))) {
		t.Fatalf("will properties: %+v", w)
	}
	var got Properties
	if !ParseForward(block, &got) || string(got.ContentType) != "text/plain" || got.UserCount != 2 || got.PayloadFormat != 1 {
		t.Fatalf("parsed again: %+v", got)
	}
	if !ParseForward(nil, &got) || got.UserCount != 0 || got.ContentType != nil {
		t.Fatal("an empty block leaves what was there")
	}
	for _, bad := range [][]byte{join(PropTopicAlias, u16(1)), join(PropMessageExpiry, u32(1)), join(PropUser, text("k")), join(PropPayloadFormat, 1, PropPayloadFormat, 1)} {
		if ParseForward(bad, &got) {
			t.Errorf("% x is accepted", bad)
		}
	}
}

// Messages that come from elsewhere cannot make a packet that a receiver would have to refuse.
func TestForwardBuilding(t *testing.T) {
	block := AppendPayloadFormat(nil, 1)
	block = AppendContentType(block, []byte("application/json"))
	block = AppendResponseTopic(block, []byte("a/b"))
	block = AppendCorrelationData(block, []byte{0, 0xFF})
	block = AppendUserProperty(block, []byte("k"), nil)
	long := bytes.Repeat([]byte("x"), stringBytesMax+1)
	for _, s := range append([]text{text(long)}, illText...) {
		b := []byte(s)
		block = AppendContentType(block, b)
		block = AppendResponseTopic(block, b)
		block = AppendUserProperty(block, b, nil)
		block = AppendUserProperty(block, nil, b)
	}
	block = AppendResponseTopic(block, []byte("a/#"))
	block = AppendCorrelationData(block, long)
	want := join(PropPayloadFormat, 1, PropContentType, text("application/json"), PropResponseTopic, text("a/b"),
		PropCorrelationData, text("\x00\xff"), PropUser, text("k"), text(""))
	if !bytes.Equal(block, want) {
		t.Fatalf("block of %d bytes, want %d: % .80x", len(block), len(want), block)
	}
	packet := AppendPublish(nil, V5, &PublishOut{Topic: []byte("t"), Props: block})
	if p := decoded(t, packet, V5); p.Props.UserCount != 1 || !bytes.Equal(p.Props.CorrelationData, []byte{0, 0xFF}) {
		t.Fatalf("%+v", p.Props)
	}
}
