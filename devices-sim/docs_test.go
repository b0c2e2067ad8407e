package main

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestManual: docs/devices-sim.md knows every profile and every scenario of a bench with its purpose, every scenario, metric and flag it speaks of.
func TestManual(t *testing.T) {
	text, err := os.ReadFile("../docs/devices-sim.md")
	if err != nil {
		t.Fatal(err)
	}
	manual := string(text)
	want := func(s string) {
		if !strings.Contains(manual, s) {
			t.Errorf("the manual has no %s", s)
		}
	}
	for _, name := range profileNames() {
		about, err := aboutOf(name)
		if err != nil {
			t.Fatal(err)
		}
		want("| `" + name + "` | " + strings.ReplaceAll(about, "$share", "`$share`") + " |")
	}
	for _, s := range scenarios[1:] {
		want("| `" + s.name + "` |")
	}
	for name := range metrics {
		name, _, _ = strings.Cut(name, ".")
		want("\"" + name + "\"")
	}
	for _, s := range benchScenarios {
		want("| `" + s.name + "` | " + s.text + " |")
	}
	flags := runCommand().Flags()
	flags.AddFlagSet(benchCommand().Flags())
	headline := headlineCommand().Flags()
	headline.VisitAll(func(f *pflag.Flag) { want("`--" + f.Name) })
	flags.AddFlagSet(headline)
	for _, c := range growthCurves {
		want("| `" + c.name + "` | " + c.text + ", by " + c.unit + " |")
	}
	flags.AddFlagSet(growthCommand().Flags())
	for _, m := range measurements {
		want("| `" + m.name + "` | " + m.text + " |")
	}
	for _, c := range []*cobra.Command{scaleCommand(), returnCommand(), offlineCommand(), badActorCommand(), badInputCommand(), tlsCommand()} {
		c.Flags().VisitAll(func(f *pflag.Flag) { want("`--" + f.Name) })
		flags.AddFlagSet(c.Flags())
	}
	for _, word := range strings.FieldsFunc(manual, func(r rune) bool { return strings.ContainsRune(" `\n(),:;.=[]'|", r) }) {
		if name, ok := strings.CutPrefix(word, "--"); ok && strings.Trim(name, "-") != "" && flags.Lookup(name) == nil {
			t.Errorf("the manual speaks of --%s", name)
		}
	}
}
