package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// compared are the figures that two results are compared by: metrics of thresholds, and what they are called.
var compared = []string{
	"rate", "latency.p50", "latency.p90", "latency.p99", "latency.p99.9", "latency.max", "ack.p50", "ack.p99", "ack.p99.9",
	"command.p50", "command.p99", "connect.p50", "connect.p99", "loss", "duplicates", "order", "closes", "cpu", "connect_cpu", "rss",
	"storm", "lag.p99",
}

func compareCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "compare A.json B.json",
		Short: "Show how the second of two results differs from the first",
		Long:  "Reads two results that run --json has written, and shows what was asked differently and what was measured. Exit code 0, whatever differs.",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var results [2]*result
			for i, name := range args {
				res, err := readResult(name)
				if err != nil {
					return err
				}
				results[i] = res
			}
			compare(cmd.OutOrStdout(), results[0], results[1])
			return nil
		},
	}
}

// readResult reads a JSON report.
func readResult(name string) (*result, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	res := new(result)
	if err := json.Unmarshal(text, res); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if res.Version != resultVersion {
		return nil, fmt.Errorf("%s: a result of version %d; this devices-sim reads version %d", name, res.Version, resultVersion)
	}
	return res, nil
}

// compare writes the differences for people.
func compare(out io.Writer, a, b *result) {
	for _, d := range differences(&a.Asked, &b.Asked) {
		fmt.Fprintf(out, "asked differently: %s\n", d)
	}
	fmt.Fprintf(out, "%-16s %14s %14s %14s %9s\n", "", "A", "B", "difference", "")
	for _, name := range compared {
		m := metrics[name]
		va, okA := m.of(a)
		vb, okB := m.of(b)
		if !okA && !okB {
			continue
		}
		label := name
		if m.unit != "" {
			label += ", " + m.unit
		}
		cell := func(v float64, ok bool) string {
			if !ok {
				return "-"
			}
			return signed(v)
		}
		fmt.Fprintf(out, "%-16s %14s %14s", label, cell(va, okA), cell(vb, okB))
		if okA && okB {
			fmt.Fprintf(out, " %14s %9s", plus(vb-va), percentage(va, vb))
		}
		fmt.Fprintln(out)
	}
	for _, s := range []struct {
		name string
		res  *result
	}{{"A", a}, {"B", b}} {
		for _, w := range append(slices.Clone(s.res.Failures), s.res.Warnings...) {
			fmt.Fprintf(out, "%s: %s\n", s.name, w)
		}
	}
}

// signed writes a figure of either sign.
func signed(v float64) string {
	if v < 0 {
		return "-" + decimal(-v)
	}
	return decimal(v)
}

func plus(v float64) string {
	if v > 0 {
		return "+" + decimal(v)
	}
	return signed(v)
}

func percentage(a, b float64) string {
	switch {
	case a == b:
		return "="
	case a == 0:
		return ""
	}
	return fmt.Sprintf("%+.1f %%", math.Round(1000*(b-a)/a)/10)
}

// differences tells which fields of what was asked are not the same.
func differences(a, b *asked) (list []string) {
	va, vb := reflect.ValueOf(*a), reflect.ValueOf(*b)
	for i := range va.NumField() {
		x, y := va.Field(i).Interface(), vb.Field(i).Interface()
		if !reflect.DeepEqual(x, y) {
			name, _, _ := strings.Cut(va.Type().Field(i).Tag.Get("json"), ",")
			list = append(list, fmt.Sprintf("%s %v, then %v", name, x, y))
		}
	}
	return list
}
