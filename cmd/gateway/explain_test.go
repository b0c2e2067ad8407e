package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{
		"acl.yaml": `
- permission: deny
  action: all
  topic: admin/#
- permission: allow
  action: all
  qos: 1
  topic: "d/${clientid}/${username}/#"
- {permission: allow, action: subscribe, topic: $KV/x}
`,
		"gateway.yaml": `
acl: {file: acl.yaml, default: deny}
topic_rewrite: [{from: old/+, to: "d/{client-id}/anna/{1}"}]
listeners: ["mqtt://127.0.0.1:0", "mqtt://127.0.0.1:0?acl_default=allow"]
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		args string
		code int
		want []string
	}{
		{"publish --client d1 --topic admin/x", exitRuntime, []string{"denied: publish admin/x, client d1\n", "acl.yaml:4: the rule for admin/# denies it"}},
		{"publish --client d1 --user anna --topic d/d1/anna/x", exitClean, []string{"allowed", "acl.yaml:8: "}},
		{"publish --client d1 --user anna --topic d/d1/anna/x --qos 2", exitRuntime, []string{"no rule decides; acl.default of the listener is deny"}},
		{"publish --client d1 --topic d/d1/anna/x --listener 1", exitClean, []string{"acl.default of the listener is allow"}},
		{"publish --client d1 --user anna --topic old/x", exitClean, []string{"topic_rewrite: it is taken for d/d1/anna/x", "acl.yaml:8"}},
		{"publish --client d1 --topic $SYS/x", exitRuntime, []string{"topics that begin with $"}},
		{"publish --client d1 --topic a/#", exitRuntime, []string{"is not a topic"}},
		{"subscribe --client d1 --user anna --topic d/d1/anna/# --qos 2", exitClean, []string{"acl.yaml:8", "granted with QoS 1"}},
		{"subscribe --client d1 --topic #", exitRuntime, []string{"acl.yaml:4: the rule for admin/# denies it"}},
		{"subscribe --client d1 --topic $KV/x", exitClean, []string{"acl.yaml:9", "nothing is delivered"}},
		{"connect --client d1", exitClean, []string{"auth.anonymous is loopback", "whoever comes is let in"}},
		{"connect --client d1 --topic admin/will", exitRuntime, []string{"the will on admin/will:", "acl.yaml:4"}},
		{"publish --topic a", exitConfig, nil}, {"publish --client d1", exitConfig, nil}, {"publish --client d1 --topic a --qos 3", exitConfig, nil},
		{"publish --client d1 --topic a --listener 2", exitConfig, nil}, {"publsh", exitConfig, nil},
	} {
		args := append([]string{"explain"}, strings.Fields(tc.args)...)
		if tc.args != "publsh" {
			args = append(args, "--config", "gateway.yaml")
		}
		code, stdout, stderr := gatewayOutput(nil, args...)
		if code != tc.code {
			t.Errorf("%s: exit code %d, want %d: %s%s", tc.args, code, tc.code, stdout, stderr)
		}
		for _, want := range tc.want {
			if !strings.Contains(stdout, want) {
				t.Errorf("%s: %q lacks %q", tc.args, stdout, want)
			}
		}
	}
	if err := os.WriteFile("acl.yaml", []byte("- permission: maybe\n- {permission: deny, action: all, topic: a/#/b}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := gatewayOutput(nil, "config", "check", "--config", "gateway.yaml")
	for _, want := range []string{"acl.file: acl.yaml:1:15: permission wants allow or deny", "acl.file: acl.yaml:2:42: filter"} {
		if code != exitConfig || !strings.Contains(stderr, want) {
			t.Errorf("broken rules: exit code %d: %s\nlacks %s", code, stderr, want)
		}
	}
}
