package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// scaling tells what fleets cost that no machine here could hold: unit costs, each measured, times numbers of devices. Owned by the
// goroutine of the command.
type scaling struct {
	names      []string // measurements to make
	costs, out string   // files
	dir        string

	yard     *yard
	spawn    func() (*worker, error)
	now      clock
	command  []string
	progress io.Writer
}

// measuredCosts is what --measure has found, as it was checked in.
//
//go:embed scale.json
var measuredCosts []byte

func scaleCommand() *cobra.Command {
	s := &scaling{spawn: spawn, now: monotonic()}
	var help strings.Builder
	for _, m := range measurements {
		fmt.Fprintf(&help, "  %-16s %s\n", m.name, m.text)
	}
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Tell what fleets of 100,000 to 100 million devices would cost",
		Long: "Multiplies unit costs with fleets. The costs are those that this program was built with, or of --costs; --measure measures some\n" +
			"of them anew, with nats-servers and gateways of its own, and writes them there.\n\nMeasurements:\n" + help.String(),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.command, s.progress = blotted(os.Args), cmd.ErrOrStderr()
			s.command[0] = filepath.Base(s.command[0]) // a page is read elsewhere
			return s.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&s.names, "measure", nil, "measure some of those above, or all, and write them to --costs")
	fs.StringVar(&s.costs, "costs", "", "JSON file of unit costs (default those built in)")
	fs.StringVar(&s.out, "page", "", "renew the tables of this Markdown file, each between two marks (default all tables on standard output)")
	fs.StringVar(&s.dir, "dir", "", "directory of the contenders (default devices-sim/contenders, here or above)")
	return cmd
}

// run is the whole command.
func (s *scaling) run(ctx context.Context, stdout io.Writer) error {
	sheet, err := s.sheet()
	if err != nil {
		return err
	}
	if len(s.names) > 0 {
		if err := s.measure(ctx, sheet); err != nil {
			return err
		}
	}
	c, err := sheet.values()
	if err != nil {
		return err
	}
	tables := scaleTables(sheet, c)
	if s.out == "" {
		for _, t := range tables {
			if _, err := fmt.Fprintf(stdout, "## %s\n\n%s\n", t.name, t.text); err != nil {
				return err
			}
		}
		return nil
	}
	page, err := os.ReadFile(s.out)
	if err != nil {
		return err
	}
	if page, err = renew(page, tables); err != nil {
		return fmt.Errorf("%s: %w", s.out, err)
	}
	return os.WriteFile(s.out, page, 0o644)
}

// sheet is the unit costs that there are.
func (s *scaling) sheet() (*costSheet, error) {
	text := measuredCosts
	if s.costs != "" {
		read, err := os.ReadFile(s.costs)
		switch {
		case err == nil:
			text = read
		case errors.Is(err, os.ErrNotExist) && len(s.names) > 0: // to be written
			text = []byte("{}")
		default:
			return nil, err
		}
	}
	sheet := new(costSheet)
	if err := json.Unmarshal(text, sheet); err != nil {
		return nil, fmt.Errorf("unit costs: %w", err)
	}
	return sheet, nil
}

// measure makes measurements and writes the sheet after each of them.
func (s *scaling) measure(ctx context.Context, sheet *costSheet) (err error) {
	if s.costs == "" {
		return errors.New("--measure needs --costs FILE to write to, such as devices-sim/scale.json")
	}
	if len(s.names) == 1 && s.names[0] == "all" {
		s.names = nil
	}
	picked, err := pick("measure", measurements, func(m *measurement) string { return m.name }, s.names)
	if err != nil {
		return err
	}
	if s.yard, err = newYard(s.dir); err != nil {
		return err
	}
	if _, err := s.yard.make(ctx, &natsHelper); err != nil {
		return fmt.Errorf("%s: %w", natsHelper.name, err)
	}
	for _, m := range picked {
		fmt.Fprintf(s.progress, "%s: ", m.name)
		values, err := s.one(ctx, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		env := thisEnvironment([]string{"devices-sim", "scale", "--measure", m.name}, s.now())
		sheet.put(costGroup{Measurement: m.name, Environment: env, Values: values})
		fmt.Fprintln(s.progress, values)
		text, err := json.MarshalIndent(sheet, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.costs, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// one makes one measurement, with servers of its own.
func (s *scaling) one(ctx context.Context, m *measurement) (values map[string]float64, err error) {
	if m.nodes == 0 {
		return m.run(ctx, s, nil)
	}
	l, err := newLab(ctx, s.yard, m.nodes)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	return m.run(ctx, s, l)
}

// renew puts tables between their marks, which have to be there.
func renew(page []byte, tables []scaleTable) ([]byte, error) {
	for _, t := range tables {
		begin, end := fmt.Sprintf("<!-- scale: %s -->\n", t.name), "<!-- end -->\n"
		before, rest, ok := bytes.Cut(page, []byte(begin))
		_, after, closed := bytes.Cut(rest, []byte(end))
		if !ok || !closed {
			return nil, fmt.Errorf("no place for the table %s: want %q and %q", t.name, begin, end)
		}
		page = []byte(string(before) + begin + "\n" + t.text + "\n" + end + string(after))
	}
	return page, nil
}
