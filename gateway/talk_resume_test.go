package gateway

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestResume: what was published while the connection was cut, at random places, comes once more it is back: everything, in
// order, and what may have come before is marked.
func TestResume(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, protocol string) {
		const total = 1000
		r := start(t, func(c *Config) { c.Session.QueueCountMax = 2 * total })
		nc := r.nats()
		seed := rand.Int63()
		rng := rand.New(rand.NewSource(seed))
		for shard := range 2 {
			id := r.ids("back", shard, 1)[0]
			j := r.talks(protocol, id, `"resume_s":60`, `"inflight":20`)
			j.asks(`{"id":2,"op":"subscribe","filter":"seq/+"}`, `{"id":2,"ok":true}`)
			done := make(chan error, 1)
			go func() {
				for i := range total {
					if err := nc.Publish("seq.x", fmt.Appendf(nil, "%d", i)); err != nil {
						done <- err
						return
					}
				}
				done <- nc.Flush()
			}()
			next, cuts, dups := 0, 0, 0
			heard := map[string]bool{} // not yet acknowledged, by payload
			for next < total {
				left := 1 + rng.Intn(120) // messages until the next cut
				// Those that are never acknowledged must not fill the window.
				for never := 0; left > 0 && next < total && never < 15; left-- {
					m := j.next()
					var n int
					if _, err := fmt.Sscan(unhex(m["data"]), &n); err != nil {
						t.Fatalf("%v", m)
					}
					switch {
					case n == next:
						next++
					case n < next && m["dup"] == true && heard[fmt.Sprint(n)]:
						dups++
					default:
						t.Fatalf("seed %d, after %d cuts: %v, want %d", seed, cuts, m, next)
					}
					heard[fmt.Sprint(n)] = true
					switch rng.Intn(4) { // some are acknowledged twice, some never
					case 0:
						j.says(fmt.Sprintf(`[{"op":"ack","ack":%v},{"op":"ack","acks":[%v]}]`, m["ack"], m["ack"]))
					case 1, 2:
						j.says(fmt.Sprintf(`{"op":"ack","acks":[%v]}`, m["ack"]))
					default:
						never++
					}
				}
				token := j.session
				if rng.Intn(3) == 0 {
					_ = j.c.CloseNow()
				} // else the new connection takes over
				cuts++
				j = r.opens(protocol, id)
				answer := j.connects(`"resume_s":60`, `"inflight":20`, fmt.Sprintf(`"session":%q`, token), `"batch":true`)
				if answer["resumed"] != true || answer["resume_s"] != 60.0 || j.session != token {
					t.Fatalf("seed %d: %v", seed, answer)
				}
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			t.Logf("%d cuts, %d repeated", cuts, dups)
		}
	})
}

// unhex is the payload of an item.
func unhex(v any) string {
	var p []byte
	_, _ = fmt.Sscanf(v.(string), "%x", &p)
	return string(p)
}

// TestSessionTokens: only the right one resumes, and only in time; anything else begins anew.
func TestSessionTokens(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, protocol string) {
		r := start(t)
		connect := func(id, token string, resume int) (*talker, bool) {
			j := r.opens(protocol, id)
			return j, j.connects(fmt.Sprintf(`"resume_s":%d,"session":%q`, resume, token))["resumed"] == true
		}
		a, resumed := connect("a", "", 60)
		if resumed {
			t.Error("resumed out of nothing")
		}
		first := a.session
		_ = a.c.CloseNow()
		b, resumed := connect("b", first, 60)
		if resumed {
			t.Error("resumed with another's token")
		}
		_ = b.c.CloseNow()
		a, resumed = connect("a", first, 60)
		if !resumed || a.session != first {
			t.Error("not resumed")
		}
		for _, bad := range []string{first + "A", first[:len(first)-1], "A" + first[1:], strings.ToUpper(first), b.session, "!", strings.Repeat("x", 1000)} {
			_ = a.c.CloseNow()
			if a, resumed = connect("a", bad, 60); resumed || a.session == first {
				t.Errorf("resumed with %q", bad)
			}
		}
		second := a.session
		_ = a.c.CloseNow()
		if a, resumed = connect("a", first, 60); resumed { // and the second session is gone
			t.Error("resumed with an old token")
		}
		_ = a.c.CloseNow()
		if a, resumed = connect("a", second, 0); resumed {
			t.Error("resumed a session that another ended")
		}
		third := a.session
		_ = a.c.CloseNow()
		r.eventually("a is gone", func() bool { return r.sum().sessionsLive == 0 })
		if a, resumed = connect("a", third, 1); resumed {
			t.Error("resumed a session that ended with its connection")
		}
		fourth := a.session
		_ = a.c.CloseNow()
		r.eventually("its time is over", func() bool { return r.sum().sessions == 1 }) // b is left
		if _, resumed = connect("a", fourth, 1); resumed {
			t.Error("resumed a session whose time was over")
		}
		// An MQTT device may go on with it, but what it leaves behind may be more than commands can say.
		c, _ := connect("c", "", 60)
		token := c.session
		c.asks(`{"id":2,"op":"subscribe","filter":"c/x"}`, `{"id":2,"ok":true}`)
		m, ack := r.connectOn(r.open(mqtt.V5, r.mqtt), "c", persistent)
		if !ack.SessionPresent {
			t.Error("the MQTT device has no session")
		}
		r.connect(mqtt.V5, "p").publish(1, "c/x", "1")
		m.gets("c/x", "1")
		if code, text := c.ends(); code != 4400 || text != "taken_over" {
			t.Errorf("%d %q", code, text)
		}
		if _, resumed = connect("c", token, 60); resumed {
			t.Error("resumed what an MQTT device had")
		}
	})
}

// TestConnected: what connect tells, with every limit; and that nothing works before it.
func TestConnected(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, protocol string) {
		r := start(t, func(c *Config) { c.Limits.PacketBytesMax, c.MQTT.InflightMax = 123456, 50 })
		j := r.opens(protocol, "däv ice")
		answer := j.connects(`"resume_s":4000000000`)
		j.same(answer, fmt.Sprintf(`{"id":1,"ok":true,"client":"däv ice","session":%q,"resumed":false,"resume_s":86400,"ping_s":25,
			"limits":{"packet_bytes":123456,"topic_bytes":1024,"subscriptions":1000,"requests":16,"inflight":50,"batch":64}}`, j.session))
		limits, _ := r.opens(protocol, "d2").connects(`"inflight":7`)["limits"].(map[string]any)
		if limits["inflight"] != 7.0 {
			t.Errorf("%v", limits)
		}
		for _, first := range []string{`{"id":3,"op":"ping"}`, `{"id":3,"op":"publish","topic":"a"}`} {
			j := r.opens(protocol, "early")
			j.says(first)
			j.fails(3, "not_connected", false)
			if code, text := j.ends(); code != 4402 || text != "bad_commands" {
				t.Errorf("%d %q", code, text)
			}
		}
		// The window: the sixth message waits for an acknowledgement.
		w := r.opens(protocol, "window")
		w.connects(`"inflight":5`)
		p := r.connect(mqtt.V5, "p")
		for i := range 9 {
			p.publish(0, "devices/window/down", fmt.Sprint(i))
		}
		acks := make([]string, 5)
		for i := range acks {
			m := w.next()
			acks[i] = fmt.Sprint(m["ack"])
			if unhex(m["data"]) != fmt.Sprint(i) || m["dup"] != nil {
				t.Fatalf("%v", m)
			}
		}
		w.asks(`{"id":2,"op":"ping"}`, `{"id":2,"ok":true}`)
		w.says(`{"op":"ack","acks":[` + strings.Join(acks, ",") + `,999]}`)
		for i := 5; i < 9; i++ {
			w.message("devices/window/down", fmt.Sprint(i))
		}
	})
}
