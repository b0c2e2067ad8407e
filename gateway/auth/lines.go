package auth

import (
	"errors"
	"fmt"
	"strings"
)

// errorsShown is how many wrong lines of a file are told.
const errorsShown = 10

// eachLine reads a file of a line each; name is the file's, for errors. Empty lines and those that begin with # are skipped. The error has a
// line for each one that read does not take, up to errorsShown. none is the error for a file without any lines.
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
	if !found {
		wrong = append(wrong, fmt.Errorf("%s: %s", name, none))
	}
	return errors.Join(wrong...)
}
