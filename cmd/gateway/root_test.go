package main

import (
	"bytes"
	"testing"

	"github.com/rs/zerolog"
)

// TestWarnOfRoot: root is fine on loopback, and a user of its own anywhere.
func TestWarnOfRoot(t *testing.T) {
	for _, row := range []struct {
		uid       int
		listeners []string
		warns     bool
	}{
		{0, []string{"mqtt://127.0.0.1:1883", "ws://[::1]:8083"}, false},
		{0, []string{"mqtt://127.0.0.1:1883", "mqtt://192.0.2.1:1883?max_qos=1"}, true},
		{0, []string{"mqtt://:1883"}, true},
		{1000, []string{"mqtt://:1883"}, false},
	} {
		var out bytes.Buffer
		warnOfRoot(row.uid, row.listeners, zerolog.New(&out))
		if (out.Len() > 0) != row.warns {
			t.Errorf("user %d on %v: %q", row.uid, row.listeners, &out)
		}
	}
}
