package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// parsed is the run command after its arguments, without the run.
func parsed(t *testing.T, args ...string) (f *flags, err error) {
	t.Helper()
	f = new(flags)
	cmd := runCommandOf(f)
	cmd.RunE = nil
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	if rest := cmd.Flags().Args(); len(rest) > 0 {
		if err := applyProfile(cmd.Flags(), rest[0]); err != nil {
			return f, err
		}
	}
	return f, f.resolve(cmd)
}

// TestBuiltInProfiles: each is a run that makes sense, and says what it is for.
func TestBuiltInProfiles(t *testing.T) {
	names := profileNames()
	for _, want := range []string{
		"idle", "telemetry", "commands", "fan-out", "fan-in", "shared-workers", "reconnect-storm", "slow-consumer", "bad-actor", "mixed",
	} {
		if !strings.Contains(strings.Join(names, " "), want) {
			t.Errorf("no profile %s", want)
		}
	}
	for _, name := range names {
		if _, err := parsed(t, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if about, err := aboutOf(name); err != nil || about == "" {
			t.Errorf("%s: about %q, %v", name, about, err)
		}
	}
}

// TestFlagsWin: what the command line says is kept, and so is what it implies.
func TestFlagsWin(t *testing.T) {
	for _, c := range []struct {
		args string
		ok   func(f *flags) bool
	}{
		{"fan-out", func(f *flags) bool {
			return f.Publishers == 1 && f.Devices == 501 && f.Rate == 600 && f.Subscribe == ""
		}},
		{"fan-out --subscribers 20 --qos 2", func(f *flags) bool { return f.Devices == 21 && f.Rate == 600 && f.QoS == 2 }},
		{"fan-out --flat-out", func(f *flags) bool { return f.FlatOut && f.Rate == 0 }},
		{"mixed", func(f *flags) bool {
			return len(f.Targets) == 3 && f.Targets[2].Kind == kindPlain && len(f.Stages) == 4 && f.Rate == 6000
		}},
		{"mixed --target mqtt://127.0.0.1:5", func(f *flags) bool { return len(f.Targets) == 1 }},
		{"mixed --rate 7 --duration 3s", func(f *flags) bool { return f.Rate == 7 && f.Stages == nil && f.Duration == 3*1e9 }},
		{"telemetry --stages hold\t5s\tat\t9", func(f *flags) bool { return f.Rate == 9 && f.Duration == 5*1e9 }},
		{"idle", func(f *flags) bool { return f.Rate == 0 && f.Devices == 10000 }},
	} {
		f, err := parsed(t, strings.Split(c.args, " ")...)
		if err != nil || !c.ok(f) {
			t.Errorf("%s: %v %+v", c.args, err, f.options)
		}
	}
}

// TestProfileErrors: a file with mistakes is told where each is.
func TestProfileErrors(t *testing.T) {
	for text, want := range map[string]string{
		"devices: 5\nrat: 7\n":                `p.yaml:2:1: "rat" is no setting`,
		"devices: many\n":                     `p.yaml:1:1: invalid argument "many" for "--devices"`,
		"devices: many\nrat: 1\n":             `p.yaml:2:1: "rat"`,
		"devices: {a: 1}\n":                   "p.yaml:1:10: devices: want a value, or a list",
		"devices:\n":                          "want a value",
		"- devices\n":                         "p.yaml:1:1: want keys",
		"devices: 5\ndevices: 6\n":            "p.yaml:2:1: ",
		"devices: [5\n":                       "p.yaml:1:",
		"json: x\n":                           `"json" is no setting`,
		"# nothing\n":                         "",
		"stages: ramp 5s to 10, stop 5s\n":    "",
		"stages: faster\n":                    "--stages: stage \"faster\"",
		"about: two\nthreshold: [loss==0]\n":  "",
		"target: [mqtt://127.0.0.1:1, 'x:y']": "--target",
	} {
		file := filepath.Join(t.TempDir(), "p.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := parsed(t, file)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := parsed(t, "telemetri"); err == nil || !strings.Contains(err.Error(), "telemetry") {
		t.Errorf("an unknown profile: %v", err)
	}
}

func TestProfilesCommand(t *testing.T) {
	for args, want := range map[string]string{
		"profiles":              "fan-out          one publisher, 500 subscribers\n",
		"profiles show fan-out": "publishers: 1\nsubscribers: 500\n",
	} {
		cmd, out := command(), new(bytes.Buffer)
		cmd.SetArgs(strings.Fields(args))
		cmd.SetOut(out)
		if err := cmd.Execute(); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v\n%s", args, err, out)
		}
	}
}
