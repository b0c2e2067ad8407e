package bus

import (
	"strings"
	"testing"
)

func TestAnswerable(t *testing.T) {
	for reply, want := range map[string]bool{
		"_INBOX.abc.1": true, "_R_.x.y": true, "my.reply": true, "devices.a.down": true, "a*.b": true, strings.Repeat("x", AnswerBytesMax): true,
		"": false, "$JS.ACK.S.C.1.2.3.4.5": false, "$SYS.REQ": false, "_TG.x": false, "_TG": false, "a..b": false, "a.": false, "a.*": false, ">": false,
		"a b": false, "a\r\nPUB x": false, strings.Repeat("x", AnswerBytesMax+1): false,
	} {
		if Answerable(reply) != want {
			t.Errorf("%.40q: %v", reply, !want)
		}
	}
}

// TestEncodeSubject: a raw subject is published to as it is, with the header of the device.
func TestEncodeSubject(t *testing.T) {
	e := newEncoder(&Bus{})
	m := &Message{Subject: []byte("_INBOX.a/b.c"), ClientID: []byte("d"), Payload: []byte("x")}
	if msg, v := e.encode(m, 1000); v != fits || msg.Subject != "_INBOX.a/b.c" || msg.Header["TG"][0] != "0 c=d" {
		t.Errorf("%v %+v", v, msg)
	}
	if msg, v := e.encode(&Message{Topic: []byte("_INBOX/a")}, 1000); v != reservedTopic {
		t.Errorf("%v %+v", v, msg)
	}
}
