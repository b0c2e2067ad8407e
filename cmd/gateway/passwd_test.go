package main

import (
	"context"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/gateway/auth"
)

// TestPasswdCommand: what it prints is a line of a password file, with another salt each time, and lets in who has the password.
func TestPasswdCommand(t *testing.T) {
	seen := map[string]bool{}
	var file strings.Builder
	for name, stdin := range map[string]string{"anna": "secret\n", "b:o b": "secret", "carl": "secret\r\nmore\n"} {
		line, err := commandOutput(t, stdin, "passwd", name, "--memory", "64", "--passes", "1")
		if err != nil || !strings.HasPrefix(line, name+":$argon2id$v=19$m=64,t=1,p=1$") || strings.Count(line, "\n") != 1 || strings.Contains(line, "secret") {
			t.Fatalf("%s: %q, %v", name, line, err)
		}
		seen[strings.Split(line, "$")[4]] = true
		file.WriteString(line)
	}
	if len(seen) != 3 {
		t.Errorf("salts %v", seen)
	}
	passwords, err := auth.ParsePasswords("passwords", []byte(file.String()))
	if err != nil {
		t.Fatal(err)
	}
	a, err := auth.NewPasswordFile(passwords).Authenticate(context.Background(), &auth.Request{
		Username: "carl", HasUsername: true, Password: []byte("secret"), HasPassword: true,
	}, 1000)
	if err != nil || a.Verdict != auth.Allow {
		t.Errorf("%+v %v", a, err)
	}
}

// TestPasswdCommandRefuses: nothing is printed for what could not be used, and the password is never shown.
func TestPasswdCommandRefuses(t *testing.T) {
	for _, tc := range []struct {
		stdin string
		args  []string
		say   string
	}{
		{"", []string{"anna"}, "no password on standard input"}, {"\n", []string{"anna"}, "the password is empty"},
		{"", []string{"a:$b"}, "has :$ in it"}, {"secret", nil, "accepts 1 arg"},
		{"", []string{"anna", "--memory", "65537"}, "65537 KiB"}, {"", []string{"anna", "--passes", "0"}, "0 passes"}, // before the password is asked for
	} {
		line, err := commandOutput(t, tc.stdin, append([]string{"passwd"}, tc.args...)...)
		if line != "" || err == nil || !strings.Contains(err.Error(), tc.say) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q %q: %q, %v, want %q", tc.args, tc.stdin, line, err, tc.say)
		}
	}
}
