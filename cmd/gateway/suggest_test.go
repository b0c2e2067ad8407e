package main

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"keepalive", "listeners", "node", "nats", "nats-listen", "loops"}
	for got, want := range map[string]string{
		"keepalvie": "keepalive", "listener": "listeners", "ndoe": "node", "nats-lisen": "nats-listen",
		"lops": "loops", "colour": "", "x": "", "": "",
	} {
		if near := nearest(got, names); near != want {
			t.Errorf("nearest(%q) is %q, want %q", got, near, want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"abc", "abc", 0}, {"abc", "", 3}, {"", "abc", 3}, {"abc", "acb", 1}, {"abc", "abd", 1},
		{"abc", "abcd", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1},
	} {
		if got := editDistance(c.a, c.b); got != c.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
