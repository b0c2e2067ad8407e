package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/bus/bustest"
)

// gatewayBan runs gateway ban with arguments against a NATS.
func gatewayBan(nats string, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	code = run(append(append([]string{"ban"}, args...), "--nats", nats), nil, &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

// TestBanCommand: bans are added, shown and removed; addresses have one form; what is wrong is said before NATS is asked.
func TestBanCommand(t *testing.T) {
	t.Parallel()
	url := bustest.Start(t).URL()
	if code, out, errs := gatewayBan(url, "list"); code != exitClean || out != "KIND  NAME  UNTIL  REASON  BY\n" {
		t.Fatalf("%d, %q, %q", code, out, errs)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"add", "--client", "pump 7", "--reason", "floods"}, "banned: client \"pump 7\", until it is removed\n"},
		{[]string{"add", "--address", "192.0.2.77/24", "--for", "1h"}, "banned: address \"192.0.2.0/24\", until 2"},
		{[]string{"add", "--address", "::ffff:192.0.2.1"}, "banned: address \"192.0.2.1\", until it is removed\n"},
		{[]string{"remove", "--address", "192.0.2.1/32"}, "no more banned: address \"192.0.2.1\"\n"},
	} {
		if code, out, errs := gatewayBan(url, c.args...); code != exitClean || !strings.HasPrefix(out, c.want) {
			t.Errorf("%v: %d, %q, %q", c.args, code, out, errs)
		}
	}
	_, out, _ := gatewayBan(url, "list")
	if !strings.Contains(out, `"pump 7"`) || !strings.Contains(out, `"floods"`) || !strings.Contains(out, `"192.0.2.0/24"`) || strings.Contains(out, `"192.0.2.1"`) {
		t.Errorf("list:\n%s", out)
	}
	_, out, _ = gatewayBan(url, "list", "--json")
	var first bus.Ban
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&first); err != nil || first.Name != "pump 7" {
		t.Errorf("%v: %s", err, out)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"add"}, exitConfig, "--client ID"},
		{[]string{"add", "--client", "a", "--user", "b"}, exitConfig, "only one of"},
		{[]string{"add", "--address", "home"}, exitConfig, "neither an address nor a network"},
		{[]string{"add", "--address", "0.0.0.0/0"}, exitConfig, "everybody"},
		{[]string{"add", "--client", "a", "--for", "1ms"}, exitConfig, "a second or more"},
		{[]string{"remove", "--user", "nobody"}, exitRuntime, "gateway ban list"},
	} {
		if code, _, errs := gatewayBan(url, c.args...); code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: %d, %q", c.args, code, errs)
		}
	}
	if code, _, errs := gatewayBan("nats://user:secret@127.0.0.1:1", "list"); code != exitRuntime || !strings.Contains(errs, "does not answer") || strings.Contains(errs, "secret") {
		t.Errorf("%d, %q", code, errs)
	}
}
