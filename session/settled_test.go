package session

import (
	"fmt"
	"testing"
)

// TestSettled: a message with a Request is told of once, when its device acknowledges it or cannot take it, be it at once, out of the queue or after a
// return; one without is not.
func TestSettled(t *testing.T) {
	for _, tc := range []struct {
		name  string
		qos   uint8
		end   []Event
		want  string
		after bool // the end comes on the next connection
	}{
		{"PUBACK", 1, []Event{{Kind: Puback}}, "[{7 0}]", false},
		{"PUBACK with a failure", 1, []Event{{Kind: Puback, Reason: 0x87}}, "[{7 135}]", false},
		{"PUBREC and PUBCOMP", 2, []Event{{Kind: Pubrec}, {Kind: Pubcomp}}, "[{7 0}]", false},
		{"PUBREC with a failure", 2, []Event{{Kind: Pubrec, Reason: 0x83}}, "[{7 131}]", false},
		{"too large", 1, []Event{{Kind: TooLarge}}, "[{7 149}]", false},
		{"after a return", 1, []Event{{Kind: Puback}}, "[{7 0}]", true},
		{"not yet", 2, nil, "[]", true},
	} {
		for _, request := range []uint32{7, 0} {
			table := NewTable(&Limits{})
			var out Out
			open := func(owner uint64) *Session {
				s, _ := table.Open(1, &Connect{ClientID: []byte("d"), Version: version5, ExpirySec: 60}, owner, &out)
				s.Step(1, &Event{Kind: Resume}, &out)
				return s
			}
			s := open(1)
			s.Step(1, &Event{Kind: Deliver, QoS: tc.qos, Msg: &Message{Topic: []byte("t"), QoS: tc.qos, Request: request}}, &out)
			id := out.Sends[0].PacketID
			if tc.after {
				out.Reset()
				s.Step(1, &Event{Kind: Lost}, &out)
				open(2)
			}
			var got []Settled
			for _, ev := range tc.end {
				ev.PacketID = id
				s.Step(1, &ev, &out)
			}
			got = append(got, out.Settled...)
			want := tc.want
			if request == 0 {
				want = "[]"
			}
			if fmt.Sprint(got) != want {
				t.Errorf("%s of request %d: %v, want %s", tc.name, request, got, want)
			}
			if out.Reset(); len(out.Settled) > 0 {
				t.Error("told again")
			}
		}
	}
}
