package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// A secret may come from a file of its own, as container platforms and systemd hand them out: the variable is that of the setting with _FILE behind it, and
// names the file.

const (
	envFileSuffix = "_FILE"
	// secretBytesMax keeps a wrong name, such as that of a device, from being read forever.
	secretBytesMax = 64 << 10
)

// secretFile is the secret whose file a variable names, nil if it names none.
func secretFile(env string) *setting {
	base, ok := strings.CutSuffix(env, envFileSuffix)
	if s := configSchema.byEnv[base]; ok && s != nil && s.secret {
		return s
	}
	return nil
}

// readSecret reads the file of a secret, without the line end that editors leave. The message says why it can't, and nothing of what is in it.
func (l *loader) readSecret(s *setting, name string) (text, message string) {
	if at, ok := l.origins[s.path]; ok && at.source == fromEnv {
		return "", fmt.Sprintf("%s is set, too; keep one of the two", at.name)
	}
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Sprintf("wants a file that can be read: %v", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, secretBytesMax+1))
	switch {
	case err != nil:
		return "", fmt.Sprintf("wants a file that can be read: %v", err)
	case len(content) > secretBytesMax:
		return "", fmt.Sprintf("wants a file of at most %d bytes", secretBytesMax)
	}
	text = strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if text == "" {
		return "", "wants a file with a secret in it, and this one is empty"
	}
	return text, ""
}
