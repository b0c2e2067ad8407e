package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
)

// reports are the files a result is written to; - is standard output.
type reports struct{ json, csv, html string }

func (r *reports) flags(fs *pflag.FlagSet) {
	fs.StringVar(&r.json, "json", "", "write the result as JSON to this file, - for standard output")
	fs.StringVar(&r.csv, "csv", "", "write a row for every second to this file")
	fs.StringVar(&r.html, "html", "", "write the result as a page with charts to this file")
}

// toStdout tells whether standard output is for a report.
func (r *reports) toStdout() bool { return r.json == "-" || r.csv == "-" || r.html == "-" }

// write writes the reports that were asked for.
func (r *reports) write(stdout io.Writer, res *result) error {
	for _, report := range []struct {
		file  string
		write func(io.Writer) error
	}{{r.json, res.writeJSON}, {r.csv, res.writeCSV}, {r.html, res.writeHTML}} {
		switch report.file {
		case "":
			continue
		case "-":
			if err := report.write(stdout); err != nil {
				return err
			}
			continue
		}
		var text bytes.Buffer
		if err := report.write(&text); err != nil {
			return fmt.Errorf("%s: %w", report.file, err)
		}
		if err := os.WriteFile(report.file, text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (res *result) writeJSON(out io.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(res)
}
