package auth

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// errorsShown is how many wrong lines of a file are told.
const errorsShown = 10

// eachLine reads a file of a line each; name is the file's, for errors. Empty lines and those that begin with # are skipped. The error has a
// line for each one that read does not take, up to errorsShown. none is the error for a file without any lines, empty if that is right.
func eachLine(name string, text []byte, none string, read func(number int, line string) error) error {
	var wrong []error
	number, found := 0, false
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		found = true
		if err := read(number, line); err != nil {
			wrong = append(wrong, fmt.Errorf("%s:%d: %w", name, number, err))
			if len(wrong) == errorsShown {
				break
			}
		}
	}
	if !found && none != "" {
		wrong = append(wrong, fmt.Errorf("%s: %s", name, none))
	}
	return errors.Join(wrong...)
}

// parseExtras reads what may stand behind the secret of a user, tenant=TENANT and client=CLIENT-ID in any order; behind and form are for errors.
func parseExtras(fields []string, behind, form string) (tenant, clientID string, err error) {
	for _, field := range fields {
		key, value, _ := strings.Cut(field, "=")
		into := map[string]*string{"tenant": &tenant, "client": &clientID}[key]
		if into == nil || *into != "" {
			return "", "", fmt.Errorf("something behind %s is not understood; a line has the form %s", behind, form)
		}
		if err := checkText(value); err != nil {
			return "", "", fmt.Errorf("%s=: %w", key, err)
		}
		*into = value
	}
	return tenant, clientID, nil
}

// noneOf is none for a text with nothing at all in it: who has only remarks there means it.
func noneOf(text []byte, none string) string {
	if len(bytes.TrimSpace(text)) > 0 {
		return ""
	}
	return none
}
