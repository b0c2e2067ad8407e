package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway"
)

// gatewayOutput runs a command in this process.
func gatewayOutput(environ []string, args ...string) (code int, stdout, stderr string) {
	var out, errOut strings.Builder
	code = run(args, environ, &out, &errOut)
	return code, out.String(), errOut.String()
}

func TestInitThenCheck(t *testing.T) {
	t.Chdir(t.TempDir())
	if code, _, stderr := gatewayOutput(nil, "config", "init"); code != exitClean {
		t.Fatalf("init: exit %d: %s", code, stderr)
	}
	l, err := loadArgs(t, []string{"--config", "gateway.yaml"}, nil)
	if err != nil {
		t.Fatalf("the written file is wrong:\n%v", err)
	}
	want := gateway.Default()
	want.WebSocket.Origins = []string{}
	want.AutoSubscribe, want.TopicRewrite = []gateway.AutoSubscribe{}, []gateway.TopicRewrite{}
	if !reflect.DeepEqual(l.config, want) {
		t.Errorf("the written file is not the defaults:\n%+v\n%+v", l.config, want)
	}
	for _, s := range configSchema.settings {
		if l.origins[s.path].source != fromFile {
			t.Errorf("%s is missing in the written file", s.path)
		}
	}
	if code, out, _ := gatewayOutput(nil, "config", "check", "-c", "gateway.yaml"); code != exitClean || !strings.Contains(out, "no errors") {
		t.Errorf("check: exit %d: %s", code, out)
	}
}

func TestInitRefusesToOverwrite(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("gateway.yaml", []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := gatewayOutput(nil, "config", "init")
	text, _ := os.ReadFile("gateway.yaml")
	if code != exitRuntime || string(text) != "mine" || !strings.Contains(stderr, "exists") {
		t.Errorf("exit %d, file %q: %s", code, text, stderr)
	}
}

func TestPrintReadsBack(t *testing.T) {
	t.Chdir(t.TempDir())
	environ := []string{
		"GATEWAY_NODE=yes", "GATEWAY_NATS_URL=nats://gw:hunter2@nats.example:4222,nats://gw:hunter2@other.example", "GATEWAY_NATS_PASSWORD=",
		"GATEWAY_LISTENERS=mqtt://[::1]:1883,ws://127.0.0.1:0", "GATEWAY_WEBSOCKET_UP_TOPIC=a b/{client-id}", "GATEWAY_DRAIN_TIME=1h30m",
	}
	code, out, stderr := gatewayOutput(environ, "config", "print", "--origin")
	if code != exitClean {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	for _, line := range []string{`node: "yes"`, "# env GATEWAY_NODE", "# default", "time: 1h30m"} {
		if !strings.Contains(out, line) {
			t.Errorf("print lacks %q:\n%s", line, out)
		}
	}
	if err := os.WriteFile("printed.yaml", []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := loadArgs(t, []string{"--config", "printed.yaml"}, nil)
	if err != nil {
		t.Fatalf("what was printed is wrong:\n%v", err)
	}
	if l.config.Node != "yes" || l.config.Listeners[0] != "mqtt://[::1]:1883" || l.config.WebSocket.UpTopic != "a b/{client-id}" {
		t.Errorf("read back %+v", l.config)
	}
}

func TestPrintHidesSecrets(t *testing.T) {
	environ := []string{"GATEWAY_NATS_URL=nats://gw:hunter2@nats.example:4222", "GATEWAY_NATS_USER=gw", "GATEWAY_NATS_PASSWORD=hunter2"}
	code, out, _ := gatewayOutput(environ, "config", "print", "--origin")
	if code != exitClean || strings.Contains(out, "hunter2") || !strings.Contains(out, hidden) {
		t.Errorf("exit %d:\n%s", code, out)
	}
}

// TestExitCodes: 2 for everything an operator has to correct in files and arguments.
func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"version"}, exitClean, "gateway "},
		{[]string{"--help"}, exitClean, "Exit codes: 0"},
		{[]string{"--lisen", "x"}, exitConfig, "did you mean --listen?"},
		{[]string{"confg"}, exitConfig, `did you mean "config"?`},
		{[]string{"config", "chek"}, exitConfig, `did you mean "check"?`},
		{[]string{"config", "check", "--loops", "many"}, exitConfig, "--loops  wants a whole number"},
		{[]string{"config", "check", "extra"}, exitConfig, "extra"},
		{[]string{"--loops", "many"}, exitConfig, "validate only: gateway config check"},
		{[]string{"completion", "bash"}, exitClean, "bash completion"},
	} {
		code, out, stderr := gatewayOutput(nil, c.args...)
		if code != c.code || !strings.Contains(out+stderr, c.says) {
			t.Errorf("gateway %s: exit %d, want %d with %q:\n%s%s", strings.Join(c.args, " "), code, c.code, c.says, out, stderr)
		}
	}
}
