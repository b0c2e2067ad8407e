package gateway

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/gateway/command"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestFormOnce: the form of a payload is looked for once for all who hear it, and never taken for that of another.
func TestFormOnce(t *testing.T) {
	s := &shard{fanned: fanned{payload: []byte(`[1,2]`)}}
	if s.formOf([]byte(`[1;2]`)) != command.FormUnknown || s.formOf([]byte(`[1]`)) != command.FormUnknown || s.fanned.form != command.FormUnknown {
		t.Error("the form of another payload")
	}
	form := s.formOf(bytes.Clone(s.fanned.payload))
	if form != command.FormOf([]byte(`[1,2]`)) || form == command.FormUnknown || s.fanned.form != form {
		t.Errorf("form %d, kept %d", form, s.fanned.form)
	}
	if s.fanned = (fanned{}); s.formOf([]byte(`[1,2]`)) != command.FormUnknown {
		t.Error("a form after the message")
	}
}

// TestFormsMix: payloads of one length and every form, some at once and some after they waited, come as what they are.
func TestFormsMix(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Loops = 1 })
	var all []*talker
	for i := range 3 {
		j := r.json(fmt.Sprint("mix", i), fmt.Sprintf(`"inflight":%d`, 1+i))
		j.asks(`{"id":2,"op":"subscribe","filter":"mix"}`, `{"id":2,"ok":true}`)
		all = append(all, j)
	}
	p := r.connect(mqtt.V5, "p")
	payloads := []string{`[1]`, `[1;`, "\xff12", `"a"`, `[2]`, `{2]`, "\xfe12", `123`}
	for range 3 {
		for _, payload := range payloads {
			p.publish(1, "mix", payload)
		}
		for _, j := range all {
			for _, payload := range payloads {
				j.message("mix", payload)
			}
		}
	}
}
