package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestGrowth measures one short curve against the real gateway, and looks at what is written.
func TestGrowth(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the gateway")
	}
	dir := t.TempDir()
	g := growth{bench: *testBench(t), names: []string{"fan-out"}, charts: filepath.Join(dir, "charts")}
	g.repeat, g.duration, g.out = 1, 200*time.Millisecond, filepath.Join(dir, "growth.md")
	if err := g.run(t.Context(), io.Discard); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(g.out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"devices-sim bench", "## fan-out", "(charts/growth-fan-out.svg)", "\n| 1,000 | "} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	chart, err := os.ReadFile(filepath.Join(dir, "charts", "growth-fan-out.svg"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(chart[:bytes.IndexByte(chart, '>')]), `viewBox="0 0 640 260"`) {
		t.Errorf("no view box in\n%s", chart)
	}
	lines := 0
	for d := xml.NewDecoder(bytes.NewReader(chart)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, chart)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
			lines++
		}
	}
	if lines != 1 {
		t.Errorf("%d lines in\n%s", lines, chart)
	}
}

func TestGrowthRefuses(t *testing.T) {
	for _, g := range []growth{
		{bench: bench{repeat: 1, duration: 1}, names: []string{"wealth"}},
		{bench: bench{repeat: 0, duration: 1}},
		{bench: bench{repeat: 1}},
	} {
		if err := g.run(t.Context(), io.Discard); err == nil {
			t.Errorf("%+v was taken", g)
		}
	}
}
