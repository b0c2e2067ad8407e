package gateway

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TestTalkBoundsBeforeConnect: limits.connect_bytes_max holds for the inflated bytes of who has not connected, too.
func TestTalkBoundsBeforeConnect(t *testing.T) {
	t.Parallel()
	r := start(t, compressing)
	long := `{"id":1,"op":"connect","token":"` + strings.Repeat("x", 100<<10) + `"}`
	c, _ := r.dialDeflate("/ws/long", websocket.CompressionNoContextTakeover, protocolJSON)
	writeWS(t, c, websocket.MessageText, long)
	j := &talker{t: t, c: c}
	if code, text := j.ends(); code != 1009 || text != "websocket_too_big" {
		t.Errorf("%d %q", code, text)
	}
}

// TestTalkAutoSubscribe: a rule with QoS 2 is QoS 1 for a device with commands; its acks end nothing.
func TestTalkAutoSubscribe(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, protocol string) {
		r := start(t, func(c *Config) {
			c.AutoSubscribe = []AutoSubscribe{{Clients: "auto", Filter: "auto/{client-id}", QoS: 2}}
		})
		j := r.talks(protocol, "auto", `"resume_s":60`)
		p := r.connect(mqtt.V5, "p")
		for i := range 3 {
			p.publish(1, "auto/auto", fmt.Sprint(i))
			j.message("auto/auto", fmt.Sprint(i))
		}
		j.asks(`{"id":2,"op":"ping"}`, `{"id":2,"ok":true}`)
		token := j.session
		_ = j.c.CloseNow()
		j = r.opens(protocol, "auto")
		if answer := j.connects(`"resume_s":60`, fmt.Sprintf(`"session":%q`, token)); answer["resumed"] != true {
			t.Fatalf("%v", answer)
		}
		j.asks(`{"id":2,"op":"ping"}`, `{"id":2,"ok":true}`)
	})
}

// TestTalkConnectInArray: the answer to connect comes before what the session owes, also in an array.
func TestTalkConnectInArray(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, protocol string) {
		for _, batch := range []bool{false, true} {
			r := start(t)
			j := r.talks(protocol, "back", `"resume_s":60`)
			token := j.session
			_ = j.c.CloseNow()
			r.eventually("it is away", func() bool { return r.sum().sessionsLive == 0 })
			p := r.connect(mqtt.V5, "p")
			p.publish(1, "devices/back/down", "1")
			p.publish(1, "devices/back/down", "2")
			j = r.opens(protocol, "back")
			j.says(fmt.Sprintf(`[{"id":1,"op":"connect","session":%q,"resume_s":60,"batch":%v},{"id":2,"op":"ping"}]`, token, batch))
			if answer := j.next(); answer["id"] != 1.0 || answer["resumed"] != true {
				t.Fatalf("first came %v", answer)
			}
			j.message("devices/back/down", "1")
			j.message("devices/back/down", "2")
			j.hears(`{"id":2,"ok":true}`)
		}
	})
}

// TestTalkDownQoS: the down topic is held to the maximum QoS of the listener.
func TestTalkDownQoS(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MQTT.MaxQoS = 0 })
	j := r.json("down")
	r.connect(mqtt.V5, "p").publish(0, "devices/down/down", "x")
	if m := j.message("devices/down/down", "x"); m["ack"] != nil {
		t.Errorf("%v", m)
	}
}

// TestTalkRewritesRequests: topic_rewrite holds for the topics of requests.
func TestTalkRewritesRequests(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.TopicRewrite = []TopicRewrite{{From: "old/+", To: "svc/{client-id}/{1}"}} })
	nc := r.nats()
	if _, err := nc.Subscribe("svc.>", func(m *nats.Msg) { _ = m.Respond([]byte(m.Subject)) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r.json("asks").asks(`{"id":2,"op":"request","topic":"old/time"}`, `{"id":2,"ok":true,"text":"svc.asks.time"}`)
}

// TestTalkTurns: reading commands is work, so that few bytes that inflate to many of them end the turn of their sender.
func TestTalkTurns(t *testing.T) {
	t.Parallel()
	const n = 8
	r := start(t, compressing)
	d := r.openDeflate("/ws/busy", protocolJSON)
	frames := pressed(t, `{"id":1,"op":"connect"}`) +
		strings.Repeat(pressed(t, `{"id":2,"op":"publish","topic":"$","text":"`+strings.Repeat("x", 120<<10)+`"}`), n)
	if _, err := d.conn.Write([]byte(frames)); err != nil {
		t.Fatal(err)
	}
	r.eventually("all are refused", func() bool { return r.sum().refused >= n })
	if turns := r.sum().turnsEnded; turns < n-2 {
		t.Errorf("a megabyte of commands ended %d turns", turns)
	}
}

// TestPlainPayloadBytes: $SYS counts the payloads to WebSocket devices as those to all others.
func TestPlainPayloadBytes(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.connect(mqtt.V5, "p")
	j := r.json("counted")
	plain := r.dialWS("/ws/frames")
	p.publish(1, "devices/counted/down", "12345")
	j.message("devices/counted/down", "12345")
	p.publish(1, "devices/frames/down", "123")
	if _, got := readWS(t, plain); got != "123" {
		t.Errorf("%q", got)
	}
	if n := r.sum().payloadOut; n != 8 {
		t.Errorf("%d bytes of payload, want 8", n)
	}
}

// TestTalkArrayTurns: an array is no longer a turn than its commands would have one by one; each is carried out once, in order.
func TestTalkArrayTurns(t *testing.T) {
	t.Parallel()
	const filters = 900
	inBoth(t, func(t *testing.T, protocol string) {
		r := start(t, func(c *Config) { c.Loops = 1 })
		var matching []mqtt.Filter
		for i := range filters {
			levels := strings.Split("a/b/c/d/e/f/g/h/i/j", "/")
			for bit := range levels {
				if i&(1<<bit) != 0 {
					levels[bit] = "+"
				}
			}
			matching = append(matching, mqtt.Filter{Topic: []byte(strings.Join(levels, "/"))})
		}
		for i := range 3 {
			c := r.connect(mqtt.V311, fmt.Sprint("holds", i))
			for at := 0; at < filters; at += 30 {
				c.subscribeTo(0, matching[at:at+30]...)
			}
		}
		r.connect(mqtt.V5, "sub").subscribe(0, "a/#")
		hears := r.talks(protocol, "hears")
		hears.asks(`{"id":2,"op":"subscribe","filter":"a/#"}`, `{"id":2,"ok":true}`)
		j := r.talks(protocol, "busy")
		var commands []string
		for i := range 64 {
			commands = append(commands, fmt.Sprintf(`{"id":%d,"op":"publish","topic":"a/b/c/d/e/f/g/h/i/j","json":%d}`, i+1, i))
		}
		before := r.sum().turnsEnded
		j.says("[" + strings.Join(commands, ",") + "]")
		for i := range 64 {
			j.hears(fmt.Sprintf(`{"id":%d,"ok":true}`, i+1))
			hears.message("a/b/c/d/e/f/g/h/i/j", fmt.Sprint(i))
		}
		j.asks(`{"id":99,"op":"ping"}`, `{"id":99,"ok":true}`)
		if n := r.sum().turnsEnded - before; n < 64*3*filters/(workMax+3*filters)-1 { // a command is not divided
			t.Errorf("%d turns ended", n)
		}
	})
}

// TestTalkArrayWaits: an array for whose rest the uplink has no room goes on where it was.
func TestTalkArrayWaits(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Limits.PacketBytesMax = 16 << 20 })
	back := r.backend(r.nats(), "waits")
	j := r.json("waits", `"down_qos":0`)
	var commands, want []string
	for i := range 64 {
		text := fmt.Sprintf("%04d", i) + strings.Repeat("x", 200<<10)
		commands = append(commands, fmt.Sprintf(`{"id":%d,"op":"publish","topic":"waits","text":%q}`, i+1, text))
		want = append(want, "waits "+text)
	}
	j.says("[" + strings.Join(commands, ",") + "]")
	for i := range 64 {
		j.hears(fmt.Sprintf(`{"id":%d,"ok":true}`, i+1))
	}
	r.eventually("all at the backend", func() bool { return len(back.all()) >= len(want) })
	checkOnce(t, "backend", back.all(), want, "-")
	if n := r.sum().pauses; n < 2 {
		t.Errorf("it waited %d times", n)
	}
}
