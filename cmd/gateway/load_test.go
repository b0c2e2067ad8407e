package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestLoadScripts runs testdata/load/*.txt: a file, variables and flags, and the report they give.
func TestLoadScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/load/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range scripts {
		name, err = filepath.Abs(name) // loadScript changes the directory
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			head, want, ok := strings.Cut(string(text), "-- want --\n")
			if !ok {
				t.Fatal("no -- want -- section")
			}
			got := "no errors\n"
			if _, err := loadScript(t, head); err != nil {
				got = err.Error() + "\n"
			}
			if *update {
				if err := os.WriteFile(name, []byte(head+"-- want --\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if strings.Contains(got, "hunter2") {
				t.Error("the report shows a secret")
			}
		})
	}
}

// loadScript loads what the sections file, env and flags of a script say.
func loadScript(t *testing.T, script string) (*loaded, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	sections := map[string]string{}
	name := ""
	for line := range strings.Lines(script) {
		if heading, ok := strings.CutPrefix(line, "-- "); ok {
			name = strings.TrimSuffix(heading, " --\n")
			sections[name] = ""
			continue
		}
		sections[name] += line
	}
	var args []string
	if text, ok := sections["file"]; ok {
		if err := os.WriteFile("gateway.yaml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", "gateway.yaml")
	}
	return loadArgs(t, append(args, strings.Fields(sections["flags"])...), strings.Split(strings.TrimSpace(sections["env"]), "\n"))
}

func loadArgs(t *testing.T, args, environ []string) (*loaded, error) {
	t.Helper()
	cmd := &cobra.Command{Use: "gateway"}
	flags := addConfigFlags(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return flags.load(environ)
}

func TestLoadStrongerSourceWins(t *testing.T) {
	l, err := loadScript(t, `
-- file --
node: from-file
loops: 1
data: from-file
listeners: [mqtt://127.0.0.1:1, mqtt://127.0.0.1:2]
drain: {time: 5s}
-- env --
GATEWAY_LOOPS=2
GATEWAY_DATA=from-env
GATEWAY_NATS_HEADER_USER=true
-- flags --
--data=from-flag
--listen=mqtt://127.0.0.1:3
--listen=ws://127.0.0.1:4,any://127.0.0.1:5
--diagnostics
`)
	if err != nil {
		t.Fatal(err)
	}
	c := l.config
	if c.Node != "from-file" || c.Loops != 2 || c.Data != "from-flag" || !c.NATS.HeaderUser || !c.Diagnostics || c.Drain.Time != 5*time.Second {
		t.Errorf("wrong values: %+v", c)
	}
	if got := strings.Join(c.Listeners, " "); got != "mqtt://127.0.0.1:3 ws://127.0.0.1:4 any://127.0.0.1:5" {
		t.Errorf("listeners %s: a flag replaces the list of the file", got)
	}
	for path, want := range map[string]string{
		"node": "gateway.yaml:1", "loops": "env GATEWAY_LOOPS", "data": "flag --data", "listeners": "flag --listen",
		"listeners[0]": "flag --listen", "drain.time": "gateway.yaml:5", "drain.rate": "default", "diagnostics": "flag --diagnostics",
	} {
		at, ok := l.origins[path]
		if !ok {
			at = l.originOf(path)
		}
		if got := at.text(l.file); got != want {
			t.Errorf("origin of %s is %q, want %q", path, got, want)
		}
	}
}

func TestLoadFileNamedByEnvironment(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("other.yaml", []byte("loops: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := loadArgs(t, nil, []string{"GATEWAY_CONFIG=other.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if l.config.Loops != 3 || l.file != "other.yaml" {
		t.Errorf("loops %d from %q", l.config.Loops, l.file)
	}
}

func TestLoadMissingFile(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := loadArgs(t, []string{"--config", "gone.yaml"}, []string{"GATEWAY_LOOPS=x"})
	want := `gone.yaml: 1 error
  the file does not exist
        fix: gateway config init gone.yaml writes one with every setting
environment: 1 error
  GATEWAY_LOOPS  wants a whole number, not "x"
validate only: gateway config check --config gone.yaml`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// TestSchema holds what the loader relies on: a name and a meaning for each setting, and one variable for one setting.
func TestSchema(t *testing.T) {
	if len(configSchema.byEnv) != len(configSchema.settings) {
		t.Errorf("%d settings share %d variables", len(configSchema.settings), len(configSchema.byEnv))
	}
	for _, s := range configSchema.settings {
		if s.doc == "" || lastName(s.path) == "" {
			t.Errorf("%q: a setting needs the tags yaml and doc", s.path)
		}
		if s.env() == envConfigFile {
			t.Errorf("%s: its variable names the file", s.path)
		}
		if s.secret && s.kind != kindText {
			t.Errorf("%s: only texts can be secret, errors repeat the others", s.path)
		}
	}
	for _, row := range flagTable {
		if configSchema.byPath[row.path] == nil {
			t.Errorf("--%s fills %q, which is no setting", row.name, row.path)
		}
	}
}

func FuzzReadYAML(f *testing.F) {
	scripts, _ := filepath.Glob("testdata/load/*.txt")
	for _, name := range scripts {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "-- file --\n")
		file, _, _ := strings.Cut(rest, "-- ")
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l := &loader{loaded: loaded{file: "f.yaml", origins: map[string]origin{}}, failed: map[string]bool{}}
		l.lines = strings.Split(text, "\n")
		l.readYAML([]byte(text))
		_ = (&configError{file: "f.yaml", lines: l.lines, problems: l.problems}).Error()
	})
}
