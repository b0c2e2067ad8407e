package mqtt

import (
	"strings"
	"testing"
)

// Statements of MQTT 3.1.1 that no bytes on a socket can break, so that they are shown here.

func Test_v311_MQTT_4_7_3_3(t *testing.T) { // topics and filters take 65,535 bytes at most: the wire carries no more, nor do we write more
	longest, longer := []byte(strings.Repeat("é", 32767)+"x"), []byte(strings.Repeat("é", 32768))
	if !ValidTopic(longest) || !ValidFilter(longest) || ValidTopic(longer) || ValidFilter(longer) {
		t.Error("65,535 bytes are the limit")
	}
	var p Packet
	body := append([]byte{0xFF, 0xFF}, longest...)
	publish := append(appendVarint([]byte{0x30}, len(body)), body...)
	if r := Decode(publish, V311, &p); r != Success || len(p.Topic) != 65535 {
		t.Errorf("PUBLISH: %v, %d bytes", r, len(p.Topic))
	}
	if got := AppendPublish(nil, V311, &PublishOut{Topic: longest}); string(got) != string(publish) {
		t.Error("PUBLISH is written otherwise")
	}
	defer func() {
		if recover() == nil {
			t.Error("a topic of 65,536 bytes was written")
		}
	}()
	AppendPublish(nil, V311, &PublishOut{Topic: longer})
}
