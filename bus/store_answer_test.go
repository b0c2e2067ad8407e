package bus

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
)

// What answers of JetStream mean for the messages of a round: one letter each (open, stored, full, refused, again), and how the round ends.
func TestStorerAnswers(t *testing.T) {
	const full, large, unknown = `{"code":503,"err_code":10023}`, `{"code":400,"err_code":10054}`, `{"code":400,"err_code":10208}`
	fails := func(k int, err string) string {
		return fmt.Sprintf(`%d {"error":%s,"stream":"TG_LOG","seq":0}`, k, err)
	}
	for _, c := range []struct {
		name    string
		singles bool
		answers []string // number, JSON
		codes   string
		over    bool
		doubled bool
	}{
		{"all", false, []string{`1 {"type":"ack","seq":0,"msgs":500}`, `4 {"stream":"TG_LOG","seq":9,"batch":"x","count":4}`}, "ssss", true, false},
		{"nothing yet", false, []string{`1 {"type":"ack","seq":0,"msgs":500}`}, "oooo", false, false},
		{"a gap", false, []string{`3 {"type":"gap","last_seq":3,"seq":4}`, `4 {"stream":"TG_LOG","seq":7,"batch":"x","count":2}`}, "ssoo", true, false},
		{"a gap at once", false, []string{`2 {"stream":"TG_LOG","seq":0,"batch":"x","count":0}`}, "oooo", true, false},
		{"an error ends the batch", false, []string{`3 {"type":"err","seq":3,"error":` + large + `}`, `3 {"stream":"TG_LOG","seq":7,"batch":"x","count":2}`}, "ssro", true, false},
		{"an error within", false, []string{fails(2, full), `4 {"stream":"TG_LOG","seq":7,"batch":"x","count":4}`}, "sfss", true, false},
		{"an error at first", false, []string{fails(1, large), fails(2, unknown), fails(3, unknown), fails(4, unknown)}, "raaa", true, false},
		{"everything full", false, []string{fails(1, full), fails(2, full), fails(3, full), fails(4, full)}, "ffff", true, false},
		{"full from here", false, []string{fails(3, full), fails(4, full)}, "ooff", false, false},
		{"nobody", false, []string{`1 `}, "oooo", true, false},
		// To a batch of repetitions only, the leader of a cluster says sequence 0 before the first copies are safe.
		{"all doubled", false, []string{`4 {"stream":"TG_LOG","seq":0,"batch":"x","count":4}`}, "oooo", true, true},
		{"singles", true, []string{`2 {"stream":"UP","seq":8}`, `1 {"stream":"UP","seq":9,"duplicate":true}`, fails(3, large)}, "ssro", false, false},
		{"all singles", true, []string{`1 {"stream":"UP","seq":8}`, `2 {"stream":"UP","seq":9}`, `3 {"stream":"UP","seq":9}`, `4 {"stream":"UP","seq":10}`}, "ssss", true, false},
		{"nonsense", false, []string{`4 {`, `7 {"stream":"TG_LOG","seq":9,"batch":"x","count":7}`, `0 {"stream":"TG_LOG","seq":9,"batch":"x","count":7}`}, "oooo", false, false},
	} {
		s := &Storer{bus: &Bus{}, id: "0123456789", inbox: "_INBOX.0123456789."}
		s.round = round{active: true, number: 35, fast: !c.singles, codes: make([]roundCode, 4), open: 4}
		for _, text := range c.answers {
			m := &nats.Msg{Data: []byte(text[2:])}
			if len(m.Data) == 0 {
				m.Header = nats.Header{"Status": {"503"}}
			}
			for _, round := range []string{"y", "z"} { // "z" is 35, "y" an earlier one
				if m.Subject = s.inbox + s.id + round + fastBatchReply + text[:1] + ".1" + fastBatchEnd; c.singles {
					m.Subject = s.inbox + s.id + round + "." + text[:1]
				}
				s.arrive(m)
				if round == "y" && s.round.open != 4 && text == c.answers[0] {
					t.Errorf("%s: an answer of an earlier round counts", c.name)
				}
			}
		}
		codes := ""
		for _, code := range s.round.codes {
			codes += string("osfra"[code])
		}
		if r := &s.round; codes != c.codes || r.over != c.over || r.doubled != c.doubled {
			t.Errorf("%s: %s, over %v, doubled %v", c.name, codes, r.over, r.doubled)
		}
	}
}
