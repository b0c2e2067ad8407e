package gateway

import (
	"testing"

	"github.com/tidegate/tidegate/session"
)

func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a", false}, {"a", "a/b", false}, {"#", "a/b", true}, {"#", "$SYS/x", false},
		{"+/x", "$SYS/x", false}, {"$SYS/#", "$SYS/x", true}, {"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "ab", false},
		{"a/+", "a/b", true}, {"a/+", "a", false}, {"a/+", "a/", true}, {"a/+/c", "a/b/c", true}, {"+", "a/b", false},
		{"+/+", "/a", true}, {"/+", "/a", true}, {"/#", "/", true}, {"a//b", "a//b", true}, {"a/+/b", "a//b", true},
	} {
		if got := matches(tc.filter, tc.topic); got != tc.want {
			t.Errorf("matches(%q, %q) = %v", tc.filter, tc.topic, got)
		}
	}
}

func TestShape(t *testing.T) {
	for _, tc := range []struct{ filter, id, want string }{
		{"devices/d1/cmd", "d1", "devices/+/cmd"}, {"devices/d11/cmd", "d1", "devices/d11/cmd"}, {"d1", "d1", "+"},
		{"d1/#", "d1", "+/#"}, {"a/b", "", "a/b"}, {"d1/d1", "d1", "+/+"}, {"x/", "d1", "x/"}, {"/d1/", "d1", "/+/"},
		{"$x/d1", "$x", "$x/d1"}, {"cmd/dev-pump17/x", "pump17", "cmd/+/x"}, {"cmd/xd1", "d1", "cmd/xd1"},
		{"a/#", "#", "a/#"}, {"#", "#", "#"}, {"a/+", "+", "a/+"},
	} {
		if got := string(shape(nil, tc.filter, tc.id)); got != tc.want {
			t.Errorf("shape(%q, %q) = %q, want %q", tc.filter, tc.id, got, tc.want)
		}
	}
}

func testMessage(topic string) session.Message {
	return session.Message{Topic: []byte(topic), Payload: []byte("x"), Retain: true}
}
