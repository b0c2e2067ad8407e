package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// faultEntries are the entries that docs/faults.md has to have: how many there are of each kind.
var faultEntries = []struct {
	prefix string
	count  int
}{{"B", 13}, {"D", 11}, {"", 28}, {"F", 24}}

var (
	faultRow   = regexp.MustCompile(`(?m)^\| ([BDF]?\d+) \|.*\| ([^|]*) \|$`)
	namedTest  = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	testFunc   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]+)\(`)
	faultTest  = regexp.MustCompile(`^TestFault([BDF]?\d+)[A-Z]`)
	reasonable = 6 // words of a reason why there is no test
)

// TestFaultsPage compares docs/faults.md with the tests of the tree: each entry has one row, with tests that exist or a reason why there is none,
// and each test that is named after an entry stands in its row.
func TestFaultsPage(t *testing.T) {
	page := readDoc(t, "faults.md")
	for _, wrong := range faultsOf(page, testsOfTheTree(t)) {
		t.Error(wrong)
	}
}

// TestFaultsPageFinds proves that the comparison can fail.
func TestFaultsPageFinds(t *testing.T) {
	page := readDoc(t, "faults.md")
	tests := testsOfTheTree(t)
	for what, change := range map[string]func() (string, []string){
		"a row is missing": func() (string, []string) { return strings.Replace(page, "| D5 |", "| D55 |", 1), tests },
		"a test does not exist": func() (string, []string) {
			return strings.Replace(page, "`TestNeverReads`", "`TestReadsNever`", 1), tests
		},
		"a row has two of it": func() (string, []string) { return strings.Replace(page, "| D5 |", "| D4 |", 1), tests },
		"a test is not named": func() (string, []string) { return page, append(slices.Clone(tests), "TestFaultB1Other") },
		"no test and no reason": func() (string, []string) {
			return strings.Replace(page, "`TestNeverReads`, `TestTLSSlowReader`", "none", 1), tests
		},
	} {
		if page, tests := change(); len(faultsOf(page, tests)) == 0 {
			t.Errorf("%s, and nobody says so", what)
		}
	}
}

// faultsOf is what is wrong with the page.
func faultsOf(page string, tests []string) (wrong []string) {
	rows := map[string][]string{} // tests by entry
	for _, m := range faultRow.FindAllStringSubmatch(page, -1) {
		entry, cell := m[1], m[2]
		if _, twice := rows[entry]; twice {
			wrong = append(wrong, entry+": two rows")
		}
		rows[entry] = []string{}
		for _, name := range namedTest.FindAllStringSubmatch(cell, -1) {
			rows[entry] = append(rows[entry], name[1])
			if !slices.Contains(tests, name[1]) {
				wrong = append(wrong, fmt.Sprintf("%s: %s does not exist", entry, name[1]))
			}
		}
		if len(rows[entry]) == 0 && len(strings.Fields(cell)) < reasonable {
			wrong = append(wrong, entry+": neither a test nor a reason why there is none")
		}
	}
	known := 0
	for _, kind := range faultEntries {
		for i := 1; i <= kind.count; i++ {
			if entry := fmt.Sprint(kind.prefix, i); rows[entry] == nil {
				wrong = append(wrong, entry+": no row")
			}
		}
		known += kind.count
	}
	if len(rows) != known {
		wrong = append(wrong, fmt.Sprintf("%d entries, want %d", len(rows), known))
	}
	for _, name := range tests {
		if m := faultTest.FindStringSubmatch(name); m != nil && !slices.Contains(rows[m[1]], name) {
			wrong = append(wrong, fmt.Sprintf("%s: its row does not name %s", m[1], name))
		}
	}
	return wrong
}

// testsOfTheTree are the names of all tests, those behind build tags included.
func testsOfTheTree(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllStringSubmatch(string(source), -1) {
			names = append(names, m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
