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

// noneOf is none for a text with nothing at all in it: who has only remarks there means it.
func noneOf(text []byte, none string) string {
	if len(bytes.TrimSpace(text)) > 0 {
		return ""
	}
	return none
}
