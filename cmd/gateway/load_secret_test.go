package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecretFiles: every secret can come from a file of its own, and nothing else can.
func TestSecretFiles(t *testing.T) {
	secrets := 0
	for _, s := range configSchema.settings {
		if at := secretFile(s.env() + envFileSuffix); (at == s) != s.secret {
			t.Errorf("%s%s sets %v", s.env(), envFileSuffix, at)
		}
		if s.secret {
			secrets++
		}
	}
	if secrets < 3 {
		t.Errorf("%d secrets", secrets)
	}
	name := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(name, []byte("hunter 2\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := loadArgs(t, nil, []string{"GATEWAY_NATS_PASSWORD_FILE=" + name, "GATEWAY_NATS_URL=nats://127.0.0.1:4222", "GATEWAY_NATS_USER=u"})
	if err != nil || l.config.NATS.Password != "hunter 2" {
		t.Fatalf("%q, %v", l.config.NATS.Password, err)
	}
	if at := l.originOf("nats.password"); at.name != "GATEWAY_NATS_PASSWORD_FILE" {
		t.Errorf("origin %+v", at)
	}
}

// TestSecretFilesWrong: a file that can't be used is an error that names the variable and shows no secret.
func TestSecretFilesWrong(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for name, row := range map[string]struct {
		environ []string
		want    string
	}{
		"missing":    {[]string{"GATEWAY_NATS_TOKEN_FILE=" + filepath.Join(dir, "none")}, "can be read"},
		"directory":  {[]string{"GATEWAY_NATS_TOKEN_FILE=" + dir}, "can be read"},
		"empty":      {[]string{"GATEWAY_NATS_TOKEN_FILE=" + file("empty", "\n")}, "empty"},
		"large":      {[]string{"GATEWAY_NATS_TOKEN_FILE=" + file("large", strings.Repeat("hunter2 ", 10_000))}, "at most"},
		"both":       {[]string{"GATEWAY_NATS_TOKEN=hunter2", "GATEWAY_NATS_TOKEN_FILE=" + file("both", "hunter2")}, "GATEWAY_NATS_TOKEN is set, too"},
		"not secret": {[]string{"GATEWAY_NATS_USER_FILE=" + file("user", "u")}, "unknown variable"},
	} {
		_, err := loadArgs(t, nil, row.environ)
		if err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), "GATEWAY_NATS_") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
