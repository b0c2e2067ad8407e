package mqtt

import (
	"bytes"
	"strings"
	"testing"
)

var filterCases = map[string]bool{
	"a": true, "/": true, "//": true, "a/b": true, "+": true, "#": true, "/#": true, "+/+": true, "/+": true, "a/+/b": true, "a/#": true,
	"+/#": true, "$SYS/#": true, "$JS": true, " ": true, "ü/+": true, "+/": true,
	"": false, "a+": false, "+a": false, "a/+b": false, "#/": false, "#/a": false, "a#": false, "a/b#": false, "##": false, "++": false,
	"+#": false, "#+": false, "a/#/b": false, "/+a/": false,
	"$share/g/a": true, "$share/g/#": true, "$share/g/+": true, "$share/g//": true, "$share/g/a/+/b": true, "$share": true, "$shared/x": true,
	"$share/g": false, "$share/g/": false, "$share/": false, "$share//a": false, "$share/+/a": false, "$share/#/a": false, "$share/g+/a": false,
	"$share/g/a#": false, "$share/#": false, "$share/+": false,
}

func TestValidFilter(t *testing.T) {
	for filter, want := range filterCases {
		if got := ValidFilter([]byte(filter)); got != want {
			t.Errorf("%q: %t, want %t", filter, got, want)
		}
	}
	for _, s := range illText {
		if ValidFilter([]byte(s)) {
			t.Errorf("%q is accepted", s)
		}
	}
	deep := []byte(strings.Repeat("+/", 32767) + "#")
	if !ValidFilter(deep) || ValidFilter(append(deep, "/x"...)) {
		t.Error("the longest filter is refused, or a longer one is not")
	}
}

func TestValidTopic(t *testing.T) {
	for topic, want := range map[string]bool{"a": true, "/": true, "a/b c/ü": true, "$SYS": true, "": false, "+": false, "a/#": false, "a+b": false, "ü#": false} {
		if got := ValidTopic([]byte(topic)); got != want {
			t.Errorf("%q: %t, want %t", topic, got, want)
		}
	}
	for _, s := range illText {
		if ValidTopic([]byte(s)) {
			t.Errorf("%q is accepted", s)
		}
	}
	for _, s := range oddText {
		if !ValidTopic([]byte(s)) {
			t.Errorf("%q is refused", s)
		}
	}
	longest := bytes.Repeat([]byte("/"), stringBytesMax)
	if !ValidTopic(longest) || ValidTopic(append(longest, '/')) {
		t.Error("the longest topic is refused, or a longer one is not")
	}
}
