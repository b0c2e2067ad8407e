package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// origin is where a value came from.
type origin struct {
	source source
	name   string // environment variable or flag
	line   int    // in the file, from 1
	column int
}

type source uint8

// The sources, weakest first; the order is also that of a report.
const (
	fromDefault source = iota
	fromFile
	fromEnv
	fromFlag
)

// problem is one thing wrong with the configuration, at the place an operator has to change.
type problem struct {
	at   origin
	what string
	fix  string
}

// configError is everything wrong with a configuration. Its text is for a person at a terminal.
type configError struct {
	file     string // name of the file, "" without one
	lines    []string
	problems []problem
}

// Error is the report: a heading for each source, each problem with its place, and for the file an excerpt.
func (e *configError) Error() string {
	slices.SortStableFunc(e.problems, func(a, b problem) int {
		if a.at.source != b.at.source {
			return int(a.at.source) - int(b.at.source)
		}
		if a.at.line != b.at.line {
			return a.at.line - b.at.line
		}
		if a.at.column != b.at.column {
			return a.at.column - b.at.column
		}
		return strings.Compare(a.at.name, b.at.name)
	})
	var out strings.Builder
	for _, src := range []source{fromDefault, fromFile, fromEnv, fromFlag} {
		e.writeSource(&out, src)
	}
	out.WriteString("validate only: gateway config check")
	if e.file != "" {
		out.WriteString(" --config " + e.file)
	}
	return out.String()
}

func (e *configError) writeSource(out *strings.Builder, src source) {
	var mine []problem
	for _, p := range e.problems {
		if p.at.source == src {
			mine = append(mine, p)
		}
	}
	if len(mine) == 0 {
		return
	}
	heading := map[source]string{fromDefault: "configuration", fromFile: e.file, fromEnv: "environment", fromFlag: "flags"}[src]
	plural := "s"
	if len(mine) == 1 {
		plural = ""
	}
	fmt.Fprintf(out, "%s: %d error%s\n", heading, len(mine), plural)
	for _, p := range mine {
		out.WriteString("  " + p.at.place() + hideURLSecrets(p.what) + "\n")
		if src == fromFile {
			e.writeExcerpt(out, p.at)
		}
		if p.fix != "" {
			out.WriteString("        fix: " + p.fix + "\n")
		}
	}
}

// place begins the line of a problem.
func (o origin) place() string {
	switch o.source {
	case fromFile:
		if o.line == 0 {
			return ""
		}
		return fmt.Sprintf("%-6s", fmt.Sprintf("%d:%d", o.line, o.column)) + " "
	case fromEnv, fromFlag:
		return o.name + "  "
	}
	return ""
}

// writeExcerpt shows the line of a problem under the one before it, with a caret below the column.
func (e *configError) writeExcerpt(out *strings.Builder, at origin) {
	if at.line < 1 || at.line > len(e.lines) {
		return
	}
	if at.line > 1 && strings.TrimSpace(e.lines[at.line-2]) != "" {
		fmt.Fprintf(out, "    %5d | %s\n", at.line-1, excerpt(e.lines[at.line-2]))
	}
	line := excerpt(e.lines[at.line-1])
	fmt.Fprintf(out, "  > %5d | %s\n", at.line, line)
	if at.column-1 <= len(line) {
		fmt.Fprintf(out, "            %s^\n", strings.Repeat(" ", max(at.column-1, 0)))
	}
}

const excerptLettersMax = 100

// excerpt is a line of the file as it may be shown: cut to a screen's width, control characters and secrets taken out.
func excerpt(line string) string {
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, line)
	line = hideURLSecrets(secretInLine.ReplaceAllString(line, "${1}"+hidden))
	if letters := []rune(line); len(letters) > excerptLettersMax {
		line = string(letters[:excerptLettersMax]) + " ..."
	}
	return line
}

// hidden stands for a secret wherever a configuration is shown.
const hidden = "***"

var (
	// secretInLine also takes misspelt names (passwrd): an error about them must not show the secret either.
	secretInLine = regexp.MustCompile(`(?i)(\b\w*(?:pass?w|token|tokn|secret)\w*["']?\s*:\s*)[^\s#].*$`)
	secretInURL  = regexp.MustCompile(`://[^\s,"]+@`)
)

// hideURLSecrets takes user and password out of URLs in text.
func hideURLSecrets(text string) string {
	return secretInURL.ReplaceAllString(text, "://"+hidden+"@")
}
