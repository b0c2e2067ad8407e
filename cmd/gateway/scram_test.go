package main

import (
	"os"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/auth"
)

func scramOutput(t *testing.T, stdin string, args ...string) (stdout string, err error) {
	t.Helper()
	return commandOutput(t, stdin, append([]string{"scram"}, args...)...)
}

// commandOutput runs the gateway's command with a standard input.
func commandOutput(t *testing.T, stdin string, args ...string) (stdout string, err error) {
	t.Helper()
	var out, errOut strings.Builder
	root := newRoot(nil)
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errOut)
	err = root.Execute()
	return out.String(), err
}

// TestScramCommand: what it prints is a line of a users file, with another salt each time; a gateway takes the file.
func TestScramCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	seen := map[string]bool{}
	var file strings.Builder
	for name, stdin := range map[string]string{"anna": "secret\n", "bob": "secret", "carl": "secret\r\nmore\n"} {
		line, err := scramOutput(t, stdin, name, "--iterations", "5000")
		if err != nil || !strings.HasPrefix(line, name+":5000:") || strings.Count(line, "\n") != 1 || strings.Contains(line, "secret") {
			t.Fatalf("%s: %q, %v", name, line, err)
		}
		seen[strings.Split(line, ":")[2]] = true
		file.WriteString(line)
	}
	if len(seen) != 3 {
		t.Errorf("salts %v", seen)
	}
	if _, err := auth.ParseUsers("users", []byte(file.String())); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile("users.scram", []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"GATEWAY_AUTH_SCRAM_FILE=users.scram", "GATEWAY_AUTH_ANONYMOUS=nobody"}
	if code, _, stderr := gatewayOutput(environ, "config", "check"); code != exitClean {
		t.Errorf("config check: exit %d: %s", code, stderr)
	}
}

// TestScramCommandRefuses: nothing is printed for what could not be used, and the password is never shown.
func TestScramCommandRefuses(t *testing.T) {
	for _, tc := range []struct {
		stdin string
		args  []string
		say   string
	}{
		{"", []string{"anna"}, "no password on standard input"}, {"\n", []string{"anna"}, "the password is empty"},
		{"secret", []string{""}, "the name is empty"}, {"secret", nil, "accepts 1 arg"}, {"secret", []string{"a", "b"}, "accepts 1 arg"},
		{"secret", []string{"anna", "--iterations", "100"}, "100 iterations are not between 4096"},
		{"", []string{"#anna"}, "begins with #"}, {"", []string{"anna", "--iterations", "1"}, "1 iterations"}, // before the password is asked for
		{"secret\x01", []string{"anna"}, "does not take"},
	} {
		line, err := scramOutput(t, tc.stdin, tc.args...)
		if line != "" || err == nil || !strings.Contains(err.Error(), tc.say) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q %q: %q, %v, want %q", tc.args, tc.stdin, line, err, tc.say)
		}
	}
}
