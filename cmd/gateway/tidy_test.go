package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	fileLinesMax     = 450
	functionLinesMax = 80
)

// TestTidy holds the rules that a reader of the whole tree relies on.
func TestTidy(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		if name == ".git" && !d.IsDir() {
			return nil // of a linked worktree
		}
		if d.IsDir() {
			if skipped[d.Name()] {
				return filepath.SkipDir
			}
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.ContainsRune(string(text), 0) {
			return nil // a binary that somebody built here
		}
		for _, complaint := range complaints(root, name, string(text)) {
			t.Errorf("%s: %s", name, complaint)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// skipped are folders that hold no text of ours.
var skipped = map[string]bool{".git": true, "node_modules": true, "gateway-data": true, "fuzz": true, "bin": true}

func complaints(root, name, text string) []string {
	var found []string
	switch filepath.Ext(name) {
	case ".go":
		found = append(found, goComplaints(name, text)...)
	case ".md":
		found = append(found, deadLinks(root, name, text)...)
	}
	for line := range strings.Lines(text) {
		if m := machinePath.FindString(line); m != "" && !strings.HasSuffix(name, "tidy_test.go") {
			found = append(found, "names a path of one machine: "+m)
		}
	}
	return found
}

var (
	machinePath = regexp.MustCompile(`/(home|Users|root|work)/[A-Za-z0-9_.]+`)
	openTask    = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)
	withIssue   = regexp.MustCompile(`\b(TODO|FIXME|XXX)\(#\d+\)`)
	// codeLine matches comment lines that read like statements; prose ends otherwise.
	codeLine = regexp.MustCompile(`^//\s*(if .*\{|for .*\{|return\b.*[()\[\]]|[\w.\[\]]+(, [\w.]+)* :?= .+[)\]\w"]|[\w.]+\(.*\)|\}( else \{)?|func .*\{|go func\(.*|defer .*\))$`)
	mdLink   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

func goComplaints(name, text string) []string {
	var found []string
	test := strings.HasSuffix(name, "_test.go")
	if n := strings.Count(text, "\n"); n > fileLinesMax && !test {
		found = append(found, fmt.Sprintf("%d lines, more than %d: would two files be clearer?", n, fileLinesMax))
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.ParseComments)
	if err != nil {
		return append(found, err.Error())
	}
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		if n := lines(fset, fn); n > functionLinesMax && !test && !flatSwitch(fset, fn) {
			found = append(found, fmt.Sprintf("%s has %d lines, more than %d", fn.Name.Name, n, functionLinesMax))
		}
	}
	for _, group := range file.Comments {
		for _, c := range group.List {
			at := fset.Position(c.Pos()).Line
			if openTask.MatchString(c.Text) && !withIssue.MatchString(c.Text) {
				found = append(found, fmt.Sprintf("line %d: a TODO names its issue, as in TODO(#12)", at))
			}
		}
		if at, ok := commentedOut(fset, group); ok {
			found = append(found, fmt.Sprintf("line %d: commented-out code", at))
		}
	}
	return found
}

// commentedOut finds a comment that has a line of code and nothing else; one such line amid prose is an example.
func commentedOut(fset *token.FileSet, group *ast.CommentGroup) (line int, ok bool) {
	code := 0
	for _, c := range group.List {
		if !strings.HasPrefix(c.Text, "// ") {
			return 0, false // a directive, or an indented example
		}
		if codeLine.MatchString(c.Text) {
			code++
		}
	}
	return fset.Position(group.Pos()).Line, code == len(group.List)
}

func lines(fset *token.FileSet, n ast.Node) int {
	return fset.Position(n.End()).Line - fset.Position(n.Pos()).Line + 1
}

// flatSwitch tells whether most of a function is one switch: long, but read case by case.
func flatSwitch(fset *token.FileSet, fn *ast.FuncDecl) bool {
	for _, stmt := range fn.Body.List {
		switch stmt.(type) {
		case *ast.SwitchStmt, *ast.TypeSwitchStmt:
			if lines(fset, stmt)*10 >= lines(fset, fn)*7 {
				return true
			}
		}
	}
	return false
}

// deadLinks checks links to files of this repository.
func deadLinks(root, name, text string) []string {
	var found []string
	for _, m := range mdLink.FindAllStringSubmatch(text, -1) {
		target, _, _ := strings.Cut(m[1], "#")
		if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
			continue
		}
		path := filepath.Join(root, filepath.Dir(name), target)
		if strings.HasPrefix(target, "/") {
			path = filepath.Join(root, target)
		}
		if _, err := os.Stat(path); err != nil {
			found = append(found, "dead link to "+target)
		}
	}
	return found
}

// TestTidyFinds proves that the rules can fail.
func TestTidyFinds(t *testing.T) {
	long := "package x\n" + strings.Repeat("\n", fileLinesMax)
	longFunc := "package x\n\nfunc f() {\n" + strings.Repeat("\tprintln()\n", functionLinesMax) + "}\n"
	longSwitch := "package x\n\nfunc f(n int) {\n\tswitch n {\n" + strings.Repeat("\tcase 1:\n\t\tprintln()\n", functionLinesMax) + "\t}\n}\n"
	for _, c := range []struct {
		name, text, want string
	}{
		{"a.go", long, "would two files be clearer"},
		{"a.go", longFunc, "f has 82 lines"},
		{"a.go", longSwitch, ""},
		{"a.go", "package x\n\n// TODO: later\n", "names its issue"},
		{"a.go", "package x\n\n// TODO(#7): later\n", ""},
		{"a.go", "package x\n\n// x := f(1)\n// return f(x)\n", "commented-out code"},
		{"a.go", "package x\n\n// f is called with x := f(1) by nobody.\n", ""},
		{"a.md", "see [this](no/such/file.md)", "dead link"},
		{"a.md", "see [this](README.md#part) and [that](https://example.com/x)", ""},
		{"a.sh", "cd /" + "home/somebody/project", "path of one machine"},
	} {
		root := t.TempDir()
		if err := os.WriteFile(filepath.Join(root, "README.md"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(complaints(root, c.name, c.text), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s %.40q: %q, want %q", c.name, c.text, got, c.want)
		}
	}
}
