package gateway

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/rs/zerolog"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

const tokenSecret = "a secret of more than thirty-two bytes"

func withTokens(t *testing.T) func(c *Config) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(tokenSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.Auth.JWTSecretFile, c.NATS.HeaderUser = file, true }
}

func token(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(tokenSecret))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func inSeconds(n int) int64 { return time.Now().Unix() + int64(n) }

// TestTokens: with a secret only who shows a good token connects, stays as long as it is good, and is who it says.
func TestTokens(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, protocol string) {
		r := start(t, withTokens(t))
		nc := r.nats()
		sub, err := nc.SubscribeSync("up")
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		for name, bad := range map[string]string{
			"none": "", "noise": "x", "of another": token(t, jwt.MapClaims{"sub": "other", "exp": inSeconds(60)}),
			"expired": token(t, jwt.MapClaims{"sub": "dev", "exp": inSeconds(-1)}),
			"not yet": token(t, jwt.MapClaims{"sub": "dev", "exp": inSeconds(60), "nbf": inSeconds(30)}), "endless": token(t, jwt.MapClaims{"sub": "dev"}),
		} {
			j := r.opens(protocol, "dev")
			j.says(fmt.Sprintf(`{"id":1,"op":"connect","token":%q}`, bad))
			j.fails(1, "unauthorized", false)
			if code, text := j.ends(); code != 4401 || text != "not_authorized" {
				t.Errorf("%s: %d %q", name, code, text)
			}
		}
		j := r.opens(protocol, "dev")
		answer := j.connects(fmt.Sprintf(`"token":%q`, token(t, jwt.MapClaims{"sub": "dev", "exp": inSeconds(3), "user": "anna"})))
		if left, _ := answer["token_s"].(float64); left < 1 || left > 3 {
			t.Errorf("token_s %v", answer["token_s"])
		}
		j.says(`{"op":"publish","topic":"up"}`)
		if m, err := sub.NextMsg(answerTime); err != nil || m.Header.Get("TG") != "0 c=dev u=anna" {
			t.Errorf("%v %v", m, err)
		}
		j.says(fmt.Sprintf(`{"id":2,"op":"refresh","token":%q}`, token(t, jwt.MapClaims{"sub": "other", "exp": inSeconds(60)})))
		j.fails(2, "unauthorized", false)
		j.says(fmt.Sprintf(`{"id":3,"op":"refresh","token":%q}`, token(t, jwt.MapClaims{"sub": "dev", "exp": inSeconds(5), "user": "anna"})))
		if a := j.next(); a["ok"] != true || a["token_s"] == nil {
			t.Errorf("%v", a)
		}
		began := time.Now()
		if code, text := j.ends(); code != 4002 || text != "token_expired" {
			t.Errorf("%d %q", code, text)
		}
		if d := time.Since(began); d < 3500*time.Millisecond { // beyond the first token's end
			t.Errorf("closed after %v", d)
		}
	})
}

// TestTokensLeaveNoOtherDoor: frames alone are refused with 401 where tokens are asked for; MQTT is not concerned.
func TestTokensLeaveNoOtherDoor(t *testing.T) {
	t.Parallel()
	r := start(t, withTokens(t))
	ctx, cancel := patient()
	defer cancel()
	_, resp, err := websocket.Dial(ctx, "ws://"+r.ws+"/ws/raw", nil)
	if err == nil || resp == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("%v %v", resp, err)
	}
	r.connect(mqtt.V311, "mqtt").ping()
	for content, want := range map[string]string{"": "no such file", "short": "32"} {
		cfg := r.gw.cfg
		cfg.Auth.JWTSecretFile = filepath.Join(t.TempDir(), "secret")
		if content != "" {
			if err := os.WriteFile(cfg.Auth.JWTSecretFile, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		g, err := New(cfg, zerolog.Nop())
		if err == nil {
			_ = g.bus.Close(context.Background())
		}
		if err == nil || !strings.Contains(err.Error(), "auth.jwt_secret_file") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v", err)
		}
	}
}

// TestWithoutTokens: one that is shown is not looked at.
func TestWithoutTokens(t *testing.T) {
	t.Parallel()
	r := start(t)
	j := r.opens(protocolJSON, "dev")
	if a := j.connects(`"token":"whatever"`); a["token_s"] != nil {
		t.Errorf("%v", a)
	}
}
