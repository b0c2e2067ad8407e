package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/gateway"
)

const docs = "../../docs/"

// TestConfigurationPage holds docs/configuration.md to the tags; -update writes it.
func TestConfigurationPage(t *testing.T) {
	want := configurationPage()
	if *update {
		if err := os.WriteFile(docs+"configuration.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := readDoc(t, "configuration.md"); got != want {
		t.Error("docs/configuration.md is not what the tags say; go test ./cmd/gateway -run TestConfigurationPage -update")
	}
}

const configurationHead = `# Configuration

A gateway without any configuration serves its own machine. Everything else is set in a YAML file, in the environment, or,
for the common settings, in flags. The three have one schema: a file sets ` + "`nats.url`" + `, the environment ` + "`GATEWAY_NATS_URL`" + `, a flag
` + "`--nats`" + `. Where several set the same, a flag wins over the environment, and the environment over the file.

    gateway config init                     write gateway.yaml with every setting, its meaning and its default
    gateway config check -c gateway.yaml    report every error at once; starts nothing
    gateway config print --origin           what is in force, and where each value came from
    gateway -c gateway.yaml                 or GATEWAY_CONFIG=gateway.yaml

Unknown keys and unknown ` + "`GATEWAY_`" + ` variables are errors: a misspelt setting must not be a silent one. Lists in the environment
are separated by commas. Times have units (` + "`30s`, `5m`, `24h`" + `). Sizes are bytes. YAML anchors, aliases and tags are not supported.
A changed configuration needs a restart.

Secrets do not belong into flags, where every user of the machine can read them; use the environment, a file with mode
0600, or a file for each: its variable with ` + "`_FILE`" + ` behind it, such as ` + "`GATEWAY_NATS_PASSWORD_FILE`" + `. ` + "`config print`" + ` and error messages hide them.

This page is generated from the tags of ` + "`gateway.Config`" + ` and checked by a test.
`

func configurationPage() string {
	flags := map[string]string{}
	for _, row := range flagTable {
		flags[row.path] = "`--" + row.name + "`"
	}
	defaults := gateway.Default()
	var out strings.Builder
	out.WriteString(configurationHead)
	for _, sec := range configSchema.sections {
		name, doc := "top level", "The gateway itself."
		if sec.path != "" {
			name, doc = sec.path, strings.ToUpper(sec.doc[:1])+sec.doc[1:]+"."
		}
		fmt.Fprintf(&out, "\n## %s\n\n%s\n\n| Key | Default | Meaning | Variable | Flag |\n|---|---|---|---|---|\n", name, doc)
		for _, s := range sec.settings {
			fmt.Fprintf(&out, "| `%s` | `%s` | %s | %s | %s |\n", s.path, s.yamlText(&defaults), cell(s.doc), variable(s), flags[s.path])
		}
		for _, s := range sec.settings {
			if s.row != nil {
				writeRow(&out, s)
			}
		}
	}
	return out.String()
}

func variable(s *setting) string {
	if s.kind == kindRows {
		return ""
	}
	if s.secret {
		return "`" + s.env() + "`, or `" + s.env() + envFileSuffix + "` with the name of a file"
	}
	return "`" + s.env() + "`"
}

// writeRow explains what an element of a list may say.
func writeRow(out *strings.Builder, s *setting) {
	intro := "Each element has keys; what is left out is empty, `false` or 0:"
	if s.kind == kindList {
		intro = "An element is a text, or in the file keys of its own; what is left out is the setting of the whole gateway. In the text the keys " +
			"but the first stand behind a `?`, as in `mqtt://127.0.0.1:1883?max_qos=1&retain_available=false`, so that variables and flags can say " +
			"them, too (a comma in a value is `%2C` there):"
	}
	fmt.Fprintf(out, "\n### %s\n\n%s\n\n| Key | Meaning |\n|---|---|\n", s.path, intro)
	for _, c := range s.row.columns {
		fmt.Fprintf(out, "| `%s` | %s |\n", c.path, cell(c.doc))
	}
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// TestLimitsPage wants a row for every setting that bounds something, with its default.
func TestLimitsPage(t *testing.T) {
	page := readDoc(t, "limits.md")
	defaults := gateway.Default()
	for _, s := range configSchema.settings {
		if !bounds.MatchString(s.path) {
			continue
		}
		row := fmt.Sprintf("| `%s` | `%s` |", s.path, s.yamlText(&defaults))
		if !strings.Contains(page, row) {
			t.Errorf("docs/limits.md has no row that begins with %s", row)
		}
	}
}

var bounds = regexp.MustCompile(`(_max|_time|^session\.max|^drain\.(time|rate)|ping_interval)$`)

// TestMetricsInDocs: what the docs call a metric is one, and docs/operations.md has all of them.
func TestMetricsInDocs(t *testing.T) {
	var known []string
	for _, name := range []string{"metrics.go", "metrics_nats.go"} {
		source, err := os.ReadFile("../../gateway/" + name)
		if err != nil {
			t.Fatal(err)
		}
		known = append(known, metricName.FindAllString(string(source), -1)...)
	}
	pages, err := filepath.Glob(docs + "*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range metricName.FindAllString(string(text), -1) {
			if !slices.Contains(known, name) && name != bus.ReasonGatewayLost {
				t.Errorf("%s names the metric %s, which nobody emits", filepath.Base(page), name)
			}
		}
	}
	operations := readDoc(t, "operations.md")
	for _, name := range known {
		if !strings.Contains(operations, "`"+name) {
			t.Errorf("docs/operations.md does not list %s", name)
		}
	}
}

var metricName = regexp.MustCompile(`\bgateway_[a-z0-9_]+[a-z0-9]\b`)

func readDoc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(docs + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
