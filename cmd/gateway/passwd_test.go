package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tidegate/tidegate/gateway/auth"
)

// letsIn tells whether a password file lets a user in.
func letsIn(t *testing.T, file, name, password string) auth.Verdict {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	passwords, err := auth.ParsePasswords(file, text)
	if err != nil {
		t.Fatal(err)
	}
	a, err := auth.NewPasswordFile(passwords).Authenticate(context.Background(), &auth.Request{
		Username: name, HasUsername: true, Password: []byte(password), HasPassword: true,
	}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return a.Verdict
}

// TestPasswdCommand: users get passwords, other ones, and go; the others stay, and nobody else may read the file.
func TestPasswdCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	quick := []string{"--memory", "64", "--passes", "1"}
	for _, step := range []struct {
		stdin string
		args  []string
		want  map[string]auth.Verdict // by password of anna, and of bob
	}{
		{"one\n", append([]string{file, "anna"}, quick...), map[string]auth.Verdict{"one": auth.Allow, "two": auth.Deny}},
		{"two", append([]string{file, "anna"}, quick...), map[string]auth.Verdict{"one": auth.Deny, "two": auth.Allow}},
		{"b\r\nmore\n", []string{"--bcrypt", file, "b:o b"}, map[string]auth.Verdict{"two": auth.Allow}},
		{"", []string{"--delete", file, "anna"}, map[string]auth.Verdict{"two": auth.Pass}},
	} {
		if out, err := commandOutput(t, step.stdin, append([]string{"passwd"}, step.args...)...); err != nil || out != "" {
			t.Fatalf("%q: %q, %v", step.args, out, err)
		}
		for password, want := range step.want {
			if got := letsIn(t, file, "anna", password); got != want {
				t.Errorf("after %q: %v with %q", step.args, got, password)
			}
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info.Mode(), err)
		}
	}
	if got := letsIn(t, file, "b:o b", "b"); got != auth.Allow {
		t.Errorf("bob: %v", got)
	}
	var done sync.WaitGroup
	for i := range 8 {
		done.Go(func() {
			if err := editPasswords(file, fmt.Sprint("u", i), fmt.Sprint("u", i, ":$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW")); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	for i := range 8 {
		if got := letsIn(t, file, fmt.Sprint("u", i), "U*U"); got != auth.Allow {
			t.Errorf("u%d was lost", i)
		}
	}
	if left, err := filepath.Glob(file + ".*"); err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
}

// TestPasswdCommandRefuses: nothing is changed by what could not be used, and the password is never shown.
func TestPasswdCommandRefuses(t *testing.T) {
	dir := t.TempDir()
	file, bad, none := filepath.Join(dir, "users"), filepath.Join(dir, "bad"), filepath.Join(dir, "none")
	const line = "bob:$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n"
	for name, text := range map[string]string{file: line, bad: line + "noise\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		stdin string
		args  []string
		say   string
	}{
		{"", []string{file, "anna"}, "no password on standard input"}, {"\n", []string{file, "anna"}, "the password is empty"},
		{"", []string{file, "a:$b"}, "has :$ in it"}, {"secret", []string{file}, "accepts 2 arg"},
		{"", []string{file, "anna", "--memory", "65537"}, "65537 KiB"}, {"", []string{file, "anna", "--passes", "0"}, "0 passes"}, // before the password is asked for
		{"secret", []string{bad, "anna"}, "bad:2: not of the form"}, {"", []string{"--delete", file, "anna"}, `no user "anna"`},
		{"", []string{"--delete", none, "anna"}, "no such file"}, {"secret" + strings.Repeat("x", 70), []string{"--bcrypt", file, "anna"}, "has 76 bytes"},
	} {
		_, err := commandOutput(t, tc.stdin, append([]string{"passwd"}, tc.args...)...)
		if err == nil || !strings.Contains(err.Error(), tc.say) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q %q: %v, want %q", tc.args, tc.stdin, err, tc.say)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != line {
		t.Errorf("%q %v", text, err)
	}
}
