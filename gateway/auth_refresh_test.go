package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TestChainRefresh: a newer token of a device with commands is shown to the chain. Its end and its rules hold from then on, unless it is of another user or
// client id, or nobody can tell: then the older one goes on.
func TestChainRefresh(t *testing.T) {
	t.Parallel()
	const secret = "a secret of thirty-two bytes, or more"
	file := newAuthText(t, secret+"\n")
	r := start(t, asksOf(AuthProvider{Type: "jwt", SecretFile: file.path, UserClaim: "user"}))
	sign := func(client, user string, sec int64, rules ...map[string]any) string {
		claims := jwt.MapClaims{"sub": client, "user": user, "exp": time.Now().Unix() + sec}
		if len(rules) > 0 {
			claims["acl"] = rules
		}
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	rule := func(permission, action, topic string) map[string]any {
		return map[string]any{"permission": permission, "action": action, "topic": topic}
	}
	j := r.opens(protocolJSON, "dev")
	j.connects(fmt.Sprintf(`"token":%q`, sign("dev", "anna", 100)))
	ends := r.whoIs("dev").expiresSec
	for id, bad := range map[uint64]string{2: sign("other", "anna", 60), 3: sign("dev", "zoe", 60), 4: "noise"} {
		j.says(fmt.Sprintf(`{"id":%d,"op":"refresh","token":%q}`, id, bad))
		j.fails(id, "unauthorized", false)
	}
	if w := r.whoIs("dev"); w.expiresSec != ends || w.rules != nil || w.user != "anna" {
		t.Errorf("a refused token counts: %+v", w)
	}
	j.says(fmt.Sprintf(`{"id":5,"op":"refresh","token":%q}`, sign("dev", "anna", 1000, rule("deny", "publish", "no/#"))))
	if a := j.next(); a["ok"] != true || a["token_s"].(float64) < 900 {
		t.Errorf("%v", a)
	}
	j.says(`{"id":6,"op":"publish","topic":"no/x","text":"x"}`)
	j.fails(6, "forbidden", false)
	j.asks(`{"id":7,"op":"subscribe","filter":"u/#"}`, `{"id":7,"ok":true}`)
	if w := r.whoIs("dev"); w.expiresSec < ends+800 {
		t.Errorf("it still ends with the first token: %d, %d", w.expiresSec, ends)
	}

	j.says(fmt.Sprintf(`{"id":9,"op":"refresh","token":%q}`, sign("dev", "anna", 100, rule("deny", "subscribe", "u/#"))))
	if a := j.next(); a["ok"] != true {
		t.Errorf("%v", a)
	}
	if code, _ := j.ends(); code != 4104 {
		t.Errorf("closed with %d", code)
	}
}

// TestChainRefreshWaits: while the chain is asked about a newer token the device goes on, and may not ask for more.
func TestChainRefreshWaits(t *testing.T) {
	t.Parallel()
	cb := newCallback(t, func(q map[string]any) string {
		switch q["password"] {
		case "away":
			return `{"result":"deny","reason":"unavailable"}`
		case "short":
			return fmt.Sprintf(`{"result":"allow","user":"anna","expires":%d}`, time.Now().Unix()+2)
		}
		return `{"result":"allow","user":"anna"}`
	})
	r := start(t, memoryOnly, cb.chained(t))
	j := r.opens(protocolJSON, "dev")
	j.connects(`"token":"one"`)
	hold := make(chan struct{})
	cb.hold.Store(&hold)
	j.says(`{"id":2,"op":"refresh","token":"two"}`)
	j.says(`{"id":3,"op":"refresh","token":"three"}`)
	j.fails(3, "too_many_requests", true)
	j.asks(`{"id":4,"op":"ping"}`, `{"id":4,"ok":true}`)
	cb.hold.Store(nil)
	close(hold)
	j.same(j.next(), `{"id":2,"ok":true}`)
	j.says(`{"id":5,"op":"refresh","token":"away"}`)
	j.fails(5, "unavailable", true)
	j.says(`{"id":6,"op":"refresh","token":"short"}`)
	if a := j.next(); a["token_s"] == nil {
		t.Errorf("%v", a)
	}
	if code, _ := j.ends(); code != 4002 {
		t.Errorf("closed with %d", code)
	}
}
