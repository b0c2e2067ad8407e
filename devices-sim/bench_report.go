package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// benchVersion is the version of the JSON format of a bench.
const benchVersion = 1

// benchReport is what a bench found, as it is written with --json.
type benchReport struct {
	Version     int                `json:"version"`
	Environment environment        `json:"environment"`
	Repeat      int                `json:"repeat"`
	DurationSec float64            `json:"duration_sec"`
	Smoke       bool               `json:"smoke"`
	Contenders  []builtContender   `json:"contenders,omitempty"`
	Skipped     []skippedContender `json:"skipped,omitempty"`
	Musts       []must             `json:"musts,omitempty"`
	Tables      []benchTable       `json:"scenarios"`

	byHand string // what somebody has written between the marks of the page
}

// What is between these marks on a page of figures is kept when the page is written anew.
const (
	byHandBegins = "<!-- by hand -->\n"
	byHandEnds   = "<!-- end -->\n"
)

// writtenByHand finds that in a page, with its marks.
func writtenByHand(page string) string {
	_, rest, ok := strings.Cut(page, byHandBegins)
	text, _, closed := strings.Cut(rest, byHandEnds)
	if !ok || !closed {
		return ""
	}
	return byHandBegins + text + byHandEnds
}

// builtContender is one that was measured, or stood beside it.
type builtContender struct {
	Contender string `json:"contender"`
	Version   string `json:"version"`
	Tuned     string `json:"tuned,omitempty"` // where it is not at its defaults
}

// skippedContender is one that was not measured: not installed, or broken.
type skippedContender struct {
	Contender string `json:"contender"`
	Install   string `json:"install,omitempty"` // the command that installs it
	Broken    string `json:"broken,omitempty"`
}

// benchTable is one scenario.
type benchTable struct {
	Scenario   string     `json:"scenario"`
	Text       string     `json:"text"`
	Parameters string     `json:"parameters"`
	Rows       []benchRow `json:"contenders"`
}

// benchRow is one contender in one scenario.
type benchRow struct {
	Contender string            `json:"contender"`
	Runs      []trial           `json:"runs"`
	Summary   map[string]spread `json:"summary"`
}

// trial is one run.
type trial struct {
	Figures  map[string]float64 `json:"figures,omitempty"`
	Wrong    []string           `json:"wrong,omitempty"`    // what the server did that it should not
	Warnings []string           `json:"warnings,omitempty"` // what makes the figures doubtful
	Error    string             `json:"error,omitempty"`    // why there are no figures
}

// spread is a figure of several runs.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf summarizes at least one value. The median of an even number is the middle of the two in the middle.
func spreadOf(values []float64) spread {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return spread{Median: (v[(n-1)/2] + v[n/2]) / 2, Min: v[0], Max: v[n-1]}
}

func (s spread) text() string {
	if s.Min == s.Max {
		return signed(s.Median)
	}
	return fmt.Sprintf("%s (%s … %s)", signed(s.Median), signed(s.Min), signed(s.Max))
}

// add adds a scenario, its runs summed up.
func (rep *benchReport) add(t benchTable) {
	for i := range t.Rows {
		t.Rows[i].summarize()
	}
	rep.Tables = append(rep.Tables, t)
}

// summarize fills Summary from the runs.
func (row *benchRow) summarize() {
	row.Summary = map[string]spread{}
	for _, f := range benchFigures {
		var values []float64
		for _, run := range row.Runs {
			if v, ok := run.Figures[f.key]; ok {
				values = append(values, v)
			}
		}
		if len(values) > 0 {
			row.Summary[f.key] = spreadOf(values)
		}
	}
}

// err tells whether something went wrong that is not a figure: a run that could not be made, a contender that is there and
// cannot be built, and in a smoke test a wrong result.
func (rep *benchReport) err() error {
	for _, s := range rep.Skipped {
		if s.Broken != "" {
			return errBench
		}
	}
	measured := 0
	for _, t := range rep.Tables {
		for _, row := range t.Rows {
			for _, run := range row.Runs {
				measured++
				if run.Error != "" || (rep.Smoke && len(run.Wrong) > 0) {
					return errBench
				}
			}
		}
	}
	if measured == 0 {
		return fmt.Errorf("%w: nothing could be measured", errBench)
	}
	return nil
}

// line is a run in one line, for the progress.
func (t *trial) line() string {
	var parts []string
	if t.Error != "" {
		parts = append(parts, "FAILED "+t.Error)
	}
	for _, f := range benchFigures {
		if v, ok := t.Figures[f.key]; ok {
			parts = append(parts, f.header+" "+signed(v))
		}
	}
	for _, w := range t.Wrong {
		parts = append(parts, "WRONG "+w)
	}
	return strings.Join(parts, "; ")
}

// markdown writes the tables.
func (rep *benchReport) markdown(out io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	e := &rep.Environment
	p("# Benchmarks\n")
	p("Written by\n\n```\n%s\n```\n", strings.Join(e.Command, " "))
	p("on %s: Linux %s, %d cores (%s), %s of memory, %s, devices-sim %s. Servers and load generator share the machine.\n",
		e.Begun, e.Kernel, e.Cores, e.Processor, bytesText(e.Memory), e.Go, e.Version)
	if rep.Smoke {
		p("**A smoke test: few devices and little time. Its figures mean nothing.**\n")
	}
	p("Runs for each figure: %d; it is their median (lowest … highest). Runs of the contenders take turns; each has fresh processes. CPU is", rep.Repeat)
	p("that of the server process as the kernel counts it, in user and system mode, by message received. Latency counts from the time a")
	p("message was due; a flat-out run has none, because it would only tell how full the window was.")
	for _, s := range rep.Skipped {
		if s.Install != "" {
			p("\nNot measured: %s is not installed. This installs it: `%s`", s.Contender, s.Install)
		} else {
			p("\nNot measured: %s could not be built.", s.Contender)
		}
	}
	if rep.byHand != "" {
		p("\n%s", strings.TrimSuffix(rep.byHand, "\n"))
	}
	rep.markdownMusts(p)
	if len(rep.Contenders) > 0 {
		p("\n## Contenders\n\n| Contender | Version | Not at its defaults |\n|---|---|---|")
		for _, c := range rep.Contenders {
			p("| %s | %s | %s |", c.Contender, c.Version, c.Tuned)
		}
	}
	for i := range rep.Tables {
		rep.Tables[i].markdown(p)
	}
}

// The contender, and its figure, that the others are told as a multiple of.
const (
	comparedWith   = "mosquitto"
	comparedFigure = "cpu_us_per_message"
)

// markdown writes one scenario.
func (t *benchTable) markdown(p func(format string, args ...any)) {
	p("\n## %s\n\n%s.\n\n%s.\n", t.Scenario, t.Text, t.Parameters)
	var columns []benchFigure
	head, line := "| Contender |", "|---|"
	for _, f := range benchFigures {
		if slices.ContainsFunc(t.Rows, func(row benchRow) bool { _, ok := row.Summary[f.key]; return ok }) {
			columns = append(columns, f)
			head += " " + f.header + " |"
			line += "--:|"
		}
	}
	base, compared := t.median(comparedWith, comparedFigure)
	if compared = compared && base > 0 && len(t.Rows) > 1; compared {
		head += " CPU × " + comparedWith + " |"
		line += "--:|"
	}
	p("%s\n%s", head, line)
	for _, row := range t.Rows {
		text := "| " + row.Contender + " |"
		for _, f := range columns {
			if s, ok := row.Summary[f.key]; ok {
				text += " " + s.text() + " |"
			} else {
				text += " – |"
			}
		}
		if s, ok := row.Summary[comparedFigure]; compared && ok {
			text += fmt.Sprintf(" %.2f |", s.Median/base)
		} else if compared {
			text += " – |"
		}
		p("%s", text)
	}
	notes := false
	for _, row := range t.Rows {
		for i, run := range row.Runs {
			for _, note := range run.notes() {
				if !notes {
					p("")
					notes = true
				}
				p("- %s, run %d: %s", row.Contender, i+1, note)
			}
		}
	}
}

// notes are what a reader has to know beside the figures, each in a line.
func (t *trial) notes() []string {
	list := slices.Concat(t.Wrong, t.Warnings)
	if t.Error != "" {
		text, _, _ := strings.Cut(t.Error, "\n")
		list = append(list, "no figures: "+text)
	}
	return list
}

func (rep *benchReport) writeJSON(out io.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(rep)
}
