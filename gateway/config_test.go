package gateway

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestValidate: what must not be served by accident is refused, with the fix.
func TestValidate(t *testing.T) {
	var withFile Config
	withUsers(t, "anna")(&withFile)
	users, wrong := withFile.Auth.SCRAMFile, filepath.Join(t.TempDir(), "wrong.scram")
	if err := os.WriteFile(wrong, []byte("#\nanna:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		mod  func(c *Config)
		path string
		say  string
	}{
		"the default":           {func(*Config) {}, "", ""},
		"open listener":         {func(c *Config) { c.Listeners = []string{"mqtt://0.0.0.0:1883"} }, "listeners[0]", "auth.anonymous: anywhere"},
		"open listener, meant":  {func(c *Config) { c.Listeners, c.Auth.Anonymous = []string{"mqtt://0.0.0.0:1883"}, "anywhere" }, "", ""},
		"open NATS":             {func(c *Config) { c.NATS.Listen = "0.0.0.0:4222" }, "nats.listen", "nats.anonymous: anywhere"},
		"open NATS, meant":      {func(c *Config) { c.NATS.Listen, c.NATS.Anonymous = "0.0.0.0:4222", "anywhere" }, "", ""},
		"reserved up topic":     {func(c *Config) { c.WebSocket.UpTopic = "_INBOX/{client-id}" }, "websocket.up_topic", "devices/"},
		"NUL in the down topic": {func(c *Config) { c.WebSocket.DownTopic = "a\x00/{client-id}" }, "websocket.down_topic", "devices/"},
		"a password in a URL":   {func(c *Config) { c.NATS.URL = "nats//user:secret@host" }, "nats.url", "nats://HOST:4222"},
		"two ways to log in":    {func(c *Config) { c.NATS.URL, c.NATS.Token, c.NATS.User = "nats://h:1", "t", "u" }, "nats", "keep one"},
		"nobody, no way in":     {func(c *Config) { c.Auth.Anonymous = "nobody" }, "auth.anonymous", "set auth.scram_file"},
		"nobody, with users":    {func(c *Config) { c.Auth.Anonymous, c.Auth.SCRAMFile = "nobody", users }, "", ""},
		"open, with users": {func(c *Config) {
			c.Listeners, c.Auth.Anonymous, c.Auth.SCRAMFile = []string{"mqtt://0.0.0.0:1883"}, "nobody", users
		}, "", ""},
		"no such users file":     {func(c *Config) { c.Auth.SCRAMFile = users + "x" }, "auth.scram_file", "users.scramx: no such file"},
		"a wrong users file":     {func(c *Config) { c.Auth.SCRAMFile = wrong }, "auth.scram_file", "wrong.scram:2: not of the form"},
		"half a second":          {func(c *Config) { c.Session.ExpiryMax = 1500 * time.Millisecond }, "session.expiry_max", "whole number of seconds"},
		"a port shared alone":    {func(c *Config) { c.SharePort = true }, "share_port", "nats.url: nats://HOST:4222"},
		"a shared port":          {func(c *Config) { c.SharePort, c.NATS.URL = true, "nats://h:1" }, "", ""},
		"a node name with space": {func(c *Config) { c.Node = "a b" }, "node", "gateway-1"},
		"a bound too high":       {func(c *Config) { c.Listeners = []string{"mqtt://127.0.0.1:1?max_qos=3"} }, "listeners[0].max_qos", "not between 0 and 2"},
		"no such bound":          {func(c *Config) { c.Listeners = []string{"mqtt://127.0.0.1:1?maxqos=1"} }, "listeners[0]", "one of keep_alive_max,"},
		"a query unreadable":     {func(c *Config) { c.Listeners = []string{"mqtt://127.0.0.1:1?max_qos=%zz"} }, "listeners[0]", "NAME=VALUE"},
		"a keep-alive too long":  {func(c *Config) { c.Listeners = []string{"mqtt://127.0.0.1:1?keep_alive_max=20h"} }, "listeners[0].keep_alive_max", "18h12m15s"},
		"a reference in lines":   {func(c *Config) { c.MQTT.ServerReference = "a\nb" }, "mqtt.server_reference", "other.example:1883"},
		"a global bound":         {func(c *Config) { c.MQTT.MaxQoS = -1 }, "mqtt.max_qos", "not between"},
		"an own bound, well":     {func(c *Config) { c.Listeners = []string{"mqtt://127.0.0.1:1?max_qos=0&expiry_max=2h"} }, "", ""},
		"an unknown strategy":    {func(c *Config) { c.MQTT.SharedStrategy = "random" }, "mqtt.shared_strategy", "round-robin, least-inflight, hash-topic, hash-client, sticky"},
		"strategies of groups":   {func(c *Config) { c.MQTT.SharedGroups = []string{"workers=sticky", "a=b=hash-topic"} }, "", ""},
		"a group without one":    {func(c *Config) { c.MQTT.SharedGroups = []string{"a=sticky", "workers"} }, "mqtt.shared_groups[1]", "workers=least-inflight"},
		"a group's unknown one":  {func(c *Config) { c.MQTT.SharedGroups = []string{"a=fair"} }, "mqtt.shared_groups[0]", `"fair" of group "a"`},
		"a group with a filter":  {func(c *Config) { c.MQTT.SharedGroups = []string{"a/b=sticky"} }, "mqtt.shared_groups[0]", "one of / + #"},
		"a group without a name": {func(c *Config) { c.MQTT.SharedGroups = []string{"=sticky"} }, "mqtt.shared_groups[0]", "no name"},
		"a group twice":          {func(c *Config) { c.MQTT.SharedGroups = []string{"a=sticky", "a=hash-topic"} }, "mqtt.shared_groups[1]", "mqtt.shared_groups[0] already"},
		"last values":            {func(c *Config) { c.Session.LastValue = []string{"a/+/b", "#"} }, "", ""},
		"no filter":              {func(c *Config) { c.Session.LastValue = []string{"a/#/b"} }, "session.last_value[0]", "devices/+/state"},
		"a shared filter":        {func(c *Config) { c.Session.LastValue = []string{"$share/g/a"} }, "session.last_value[0]", "devices/+/state"},
		"many last values":       {func(c *Config) { c.Session.LastValue = slices.Repeat([]string{"a"}, 65) }, "session.last_value", "at most 64"},
		"a retained half second": {func(c *Config) { c.MQTT.RetainedExpiryMax = 1500 * time.Millisecond }, "mqtt.retained_expiry_max", "whole number of seconds"},
		"no listener":            {func(c *Config) { c.Listeners = nil }, "listeners", "mqtt://"},
	} {
		c := Default()
		tc.mod(&c)
		errs := c.Validate()
		if tc.path == "" {
			if len(errs) != 0 {
				t.Errorf("%s: %v", name, errs[0])
			}
			continue
		}
		if len(errs) != 1 || errs[0].Path != tc.path || !strings.Contains(errs[0].Error(), tc.say) {
			t.Errorf("%s: %v", name, errs)
			continue
		}
		if strings.Contains(errs[0].Error(), "secret") {
			t.Errorf("%s: tells the password: %v", name, errs[0])
		}
	}
}
