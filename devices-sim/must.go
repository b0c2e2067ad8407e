package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// must is something that has to hold, with what was measured.
type must struct {
	Name     string   `json:"name"`
	Bound    string   `json:"must,omitempty"` // in words; "": a figure that is only told
	Measured string   `json:"measured"`       // in words
	Value    *float64 `json:"value"`          // null: not measured
	Met      *bool    `json:"met,omitempty"`  // null: nothing was to hold, or it was not measured
	Note     string   `json:"note,omitempty"` // what else there is to say
}

// held is a must with its value, and whether that is within the bound.
func held(name, bound string, value float64, met bool, measured string) must {
	return must{Name: name, Bound: bound, Measured: measured, Value: &value, Met: &met}
}

// none is a must of something that may not happen.
func none(name string, n uint64, measured string) must {
	return held(name, "0", float64(n), n == 0, measured)
}

// told is a figure that has nothing to hold.
func told(name string, value float64, measured string) must {
	return must{Name: name, Measured: measured, Value: &value}
}

// notMeasured is a must of which nothing is known, and why.
func notMeasured(name, bound, why string) must {
	return must{Name: name, Bound: bound, Measured: "not measured", Note: why}
}

// Verdict is how it went; the page asks for it as well.
func (m must) Verdict() string {
	switch {
	case m.Met != nil && *m.Met:
		return "met"
	case m.Met != nil:
		return "MISSED"
	case m.Bound != "":
		return "unknown"
	}
	return ""
}

// missed is how many of a list do not hold, and unknown how many were not measured.
func missed(list []must) (n, unknown int) {
	for _, m := range list {
		switch m.Verdict() {
		case "MISSED":
			n++
		case "unknown":
			unknown++
		}
	}
	return n, unknown
}

// writeMusts writes a list as a table for people.
func writeMusts(out io.Writer, list []must) {
	rows := [][4]string{{"", "must", "measured", "verdict"}}
	var width [4]int
	for _, m := range list {
		rows = append(rows, [4]string{m.Name, m.Bound, m.Measured, m.Verdict()})
	}
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
		}
		fmt.Fprintln(out, strings.TrimRight(b.String(), " "))
	}
	for _, m := range list {
		if m.Note != "" {
			fmt.Fprintf(out, "  %s: %s\n", m.Name, m.Note)
		}
	}
}
