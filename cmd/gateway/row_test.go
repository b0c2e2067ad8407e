package main

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml/parser"
)

// testRow is a row with a column of every kind.
type testRow struct {
	Clients string        `yaml:"clients" doc:"client ids"`
	QoS     int           `yaml:"qos" doc:"QoS"`
	NoLocal bool          `yaml:"no_local" doc:"not its own"`
	Every   time.Duration `yaml:"every" doc:"how often"`
	Key     string        `yaml:"key" secret:"true" doc:"a secret"`
}

type testRows struct {
	Rules []testRow `yaml:"rules" doc:"what is done for whom"`
}

// readRules reads a YAML list as the setting rules of a configuration that has it.
func readRules(t *testing.T, text string) (*loader, []testRow, *setting) {
	t.Helper()
	s := readSchema(reflect.TypeFor[testRows]()).byPath["rules"]
	file, err := parser.ParseBytes([]byte(text), 0)
	if err != nil {
		t.Fatal(err)
	}
	l := &loader{loaded: loaded{file: "f.yaml", origins: map[string]origin{}}, failed: map[string]bool{}, lines: strings.Split(text, "\n")}
	var c testRows
	l.readSetting(s, origin{}, reflect.ValueOf(&c).Elem().FieldByIndex(s.index), file.Docs[0].Body)
	return l, c.Rules, s
}

func TestRows(t *testing.T) {
	l, got, s := readRules(t, `
- {clients: "sensor-*", qos: 1, no_local: true, every: 5m, key: hunter2}
- clients: pump
-
  every: 0
`)
	want := []testRow{{"sensor-*", 1, true, 5 * time.Minute, "hunter2"}, {Clients: "pump"}, {}}
	if len(l.problems) > 0 || !slices.Equal(got, want) {
		t.Errorf("%+v, problems %v", got, l.problems)
	}
	for path, at := range map[string][2]int{"rules": {2, 1}, "rules[0].every": {2, 56}, "rules[1].clients": {3, 12}, "rules[2].every": {5, 10}} {
		if got := l.origins[path]; got.line != at[0] || got.column != at[1] {
			t.Errorf("%s is at %d:%d, want %v", path, got.line, got.column, at)
		}
	}
	if at := l.originOf("rules[1].qos"); at.line != 3 { // Validate blames what is not there
		t.Errorf("a key that is missing in a row is blamed at line %d", at.line)
	}
	if text := s.yamlValue(reflect.ValueOf(got)); text != `[{clients: "sensor-*", qos: 1, no_local: true, every: 5m, key: "***"}, {clients: pump}, {}]` {
		t.Errorf("shown as %s", text)
	}
	if message := s.setText(nil, "x"); !strings.Contains(message, "only a file") { // a variable
		t.Errorf("set by a variable: %q", message)
	}
}

// TestRowsReadBack: what is shown is a valid file.
func TestRowsReadBack(t *testing.T) {
	want := []testRow{{Clients: "a: b, {c}", QoS: -1, Every: 90 * time.Second}, {NoLocal: true}}
	_, _, s := readRules(t, "[]")
	if l, got, _ := readRules(t, s.yamlValue(reflect.ValueOf(want))); len(l.problems) > 0 || !slices.Equal(got, want) {
		t.Errorf("read back %+v, problems %v", got, l.problems)
	}
}

func TestRowProblems(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"- {clients: 5}", "rules[0].clients wants text, not a whole number; put it in quotes"},
		{"- clients: a\n  qoss: 1", `unknown key "qoss" in rules[0], did you mean "qos"?`},
		{"- {clients: a}\n- {clients: a, clients: b}", `"clients" stands here a second time; the first is at 2:4`},
		{"- {qos: one}", "rules[0].qos wants a whole number, not text"},
		{"- {every: 20}", "rules[0].every wants a time such as 30s, 5m or 24h, not a whole number"},
		{"- {no_local: yes}", "rules[0].no_local wants true or false, not text, did you mean true?"},
		{"- {key: 1}", "rules[0].key wants text, not a whole number; put it in quotes"},
		{"- {qos: [1]}", "rules[0].qos wants a whole number, not a list"},
		{"- {qos: }", "rules[0].qos has no value: it wants a whole number"},
		{"- sensor", "rules[0] wants keys, not text; its keys are clients, qos, no_local, every, key"},
		{"- [a]", "rules[0] wants keys, not a list; its keys are clients, qos, no_local, every, key"},
		{"a: b", "rules wants a list of rows, not keys"},
	} {
		t.Run(c.text, func(t *testing.T) {
			file, err := parser.ParseBytes([]byte(c.text), 0, parser.AllowDuplicateMapKey())
			if err != nil {
				t.Fatal(err)
			}
			s := readSchema(reflect.TypeFor[testRows]()).byPath["rules"]
			l := &loader{loaded: loaded{origins: map[string]origin{}}, failed: map[string]bool{}}
			var into testRows
			l.readSetting(s, origin{}, reflect.ValueOf(&into).Elem().FieldByIndex(s.index), file.Docs[0].Body)
			if len(l.problems) != 1 || l.problems[0].what != c.want || l.problems[0].at.line == 0 {
				t.Errorf("%+v, want %s", l.problems, c.want)
			}
		})
	}
}

// TestListenerRows: a listener as a mapping is the same as in the text of a flag, and is shown so that it reads back.
func TestListenerRows(t *testing.T) {
	l, err := loadScript(t, `
-- file --
listeners:
  - listen: mqtt://127.0.0.1:1883
    max_qos: 1
    retain_available: false
    keep_alive_max: 1h30m
    server_reference: "a.example:1883 b.example, c"
  - ws://127.0.0.1:8083?max_qos=0
  - {listen: "any://127.0.0.1:8084?max_qos=2", receive_max: 5}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"mqtt://127.0.0.1:1883?keep_alive_max=1h30m&max_qos=1&retain_available=false&server_reference=a.example%3A1883+b.example%2C+c",
		"ws://127.0.0.1:8083?max_qos=0", "any://127.0.0.1:8084?max_qos=2&receive_max=5",
	}
	if !slices.Equal(l.config.Listeners, want) {
		t.Errorf("listeners\n%q, want\n%q", l.config.Listeners, want)
	}
	again, err := loadArgs(t, nil, []string{"GATEWAY_LISTENERS=" + strings.Join(want, ",")})
	if err != nil || !slices.Equal(again.config.Listeners, want) {
		t.Errorf("from the environment: %v %+v", err, again)
	}
	var shown strings.Builder
	if err := printConfig(&shown, l, true); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("shown.yaml", []byte(shown.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err = loadArgs(t, []string{"-c", "shown.yaml"}, nil); err != nil || !slices.Equal(again.config.Listeners, want) {
		t.Errorf("what is shown reads back as %v %v:\n%s", again, err, shown.String())
	}
}

// TestInitExplainsRows: the file to edit names the keys of a listener.
func TestInitExplainsRows(t *testing.T) {
	var out strings.Builder
	if err := writeTemplate(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "#   max_qos: mqtt.max_qos of this listener\n") {
		t.Errorf("the file does not say what a listener may have:\n%s", out.String())
	}
}
