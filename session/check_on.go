//go:build race || gwcheck

package session

import (
	"bytes"
	"fmt"
)

// checkKept panics when a dispatched Message was changed: its copy would be delivered in its place.
func checkKept(m *Message, k *stored) {
	if !bytes.Equal(m.Topic, k.msg.Topic) || !bytes.Equal(m.Props, k.msg.Props) || !bytes.Equal(m.Payload, k.msg.Payload) {
		panic(fmt.Sprintf("session: message to %q was changed while it was dispatched (kept as %q)", m.Topic, k.msg.Topic))
	}
}

// checkWipe overwrites a recycled buffer, so that who kept a borrowed slice reads nonsense.
func checkWipe(buf []byte) {
	for i := range buf {
		buf[i] = 0xDB
	}
}

// checkLive panics when a device event reaches a session without a connection.
func checkLive(s *Session, ev *Event) {
	if s.state != live {
		panic(fmt.Sprintf("session: %v for %q, which has no connection (state %d)", ev.Kind, s.id, s.state))
	}
}
