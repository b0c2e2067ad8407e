package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/tidegate/tidegate/gateway"
)

// sources is what a configuration is made from, weakest first: file, environment, flags.
type sources struct {
	file    string   // name; "" for none
	environ []string // NAME=value, as of os.Environ
	flags   []flagValue
}

// flagValue is a flag that was given: which setting it fills and the texts given (several for a repeated flag).
type flagValue struct {
	name  string // with the dashes
	path  string
	texts []string
}

// loaded is an effective configuration and where each of its values came from.
type loaded struct {
	config gateway.Config
	file   string
	// origins is by path; elements of lists have their own (listeners[1]), sections that a file names too.
	origins map[string]origin
}

// loader gathers values and problems over all sources, so that one run reports every error.
type loader struct {
	loaded
	lines    []string
	problems []problem
	failed   map[string]bool // settings with a problem: what Validate says about their left-over value is noise
	unread   bool            // there is a file and it could not be read: then Validate would judge half a configuration
}

// load makes the effective configuration: defaults, then file, environment and flags. Its error is a *configError
// with everything that is wrong in any of them.
func load(src sources) (*loaded, error) {
	l := &loader{
		loaded: loaded{config: gateway.Default(), origins: map[string]origin{}},
		failed: map[string]bool{},
	}
	file := src.file
	if file == "" {
		file = fileFromEnv(src.environ)
	}
	if file != "" {
		l.readFile(file)
	}
	l.readEnv(src.environ)
	l.readFlags(src.flags)
	if !l.unread {
		l.validate()
	}
	if len(l.problems) > 0 {
		return nil, &configError{file: l.file, lines: l.lines, problems: l.problems}
	}
	return &l.loaded, nil
}

func (l *loader) validate() {
	for _, fe := range l.config.Validate() {
		if !l.hasFailed(fe.Path) {
			l.problems = append(l.problems, problem{at: l.originOf(fe.Path), what: fe.Path + ": " + fe.What, fix: fe.Fix})
		}
	}
}

// hasFailed tells that there is a problem with a path, what holds it, or something in it: then its value is not what was meant.
func (l *loader) hasFailed(path string) bool {
	for p := path; p != ""; p = holder(p) {
		if l.failed[p] {
			return true
		}
	}
	if configSchema.section(path) != nil {
		return false
	}
	for p := range l.failed {
		if strings.HasPrefix(p, path+".") || strings.HasPrefix(p, path+"[") {
			return true
		}
	}
	return false
}

func (l *loader) add(path string, at origin, format string, args ...any) {
	if path != "" {
		l.failed[path] = true
	}
	l.problems = append(l.problems, problem{at: at, what: fmt.Sprintf(format, args...)})
}

// set records that path has its value from at. What an earlier source said about elements of a list is void.
func (l *loader) set(path string, at origin) {
	for p := range l.origins {
		if strings.HasPrefix(p, path+"[") {
			delete(l.origins, p)
		}
	}
	for p := range l.failed {
		if strings.HasPrefix(p, path+"[") {
			delete(l.failed, p)
		}
	}
	l.origins[path] = at
	delete(l.failed, path)
}

func (l *loader) readFile(name string) {
	l.file = name
	text, err := os.ReadFile(name)
	if err != nil {
		what := err.Error()
		if errors.Is(err, os.ErrNotExist) {
			what = "the file does not exist"
		}
		l.problems = append(l.problems, problem{
			at: origin{source: fromFile}, what: what, fix: "gateway config init " + name + " writes one with every setting",
		})
		l.unread = true
		return
	}
	l.lines = strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
	l.readYAML(text)
}

func (l *loader) readFlags(flags []flagValue) {
	for _, f := range flags {
		s := configSchema.byPath[f.path]
		at := origin{source: fromFlag, name: f.name}
		text := f.texts[len(f.texts)-1]
		if s.kind == kindList {
			text = strings.Join(f.texts, ",")
		}
		if message := s.setText(&l.config, text); message != "" {
			l.add(f.path, at, "%s", message)
			continue
		}
		l.set(f.path, at)
	}
}

// holder is what holds a path: listeners[1] for listeners[1].max_qos, then listeners; "" for what nothing holds.
func holder(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

// originOf finds the place to blame for a path that Validate names: the value itself, its row, its list, a set value below
// the section, or the section.
func (l *loaded) originOf(path string) origin {
	for p, within := path, true; within; p = holder(p) {
		if at, ok := l.origins[p]; ok {
			return at
		}
		within = strings.Contains(p, "[")
	}
	var best origin
	for _, s := range configSchema.settings {
		if at, ok := l.origins[s.path]; ok && strings.HasPrefix(s.path, path+".") && at.source > best.source {
			best = at
		}
	}
	return best
}
