package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/gateway"
)

func newConfigCommand(environ []string) *cobra.Command {
	config := &cobra.Command{
		Use:   "config",
		Short: "Check, show or write the configuration",
		Args:  rejectUnknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	config.AddCommand(newCheckCommand(environ), newPrintCommand(environ), newInitCommand())
	return config
}

func newCheckCommand(environ []string) *cobra.Command {
	check := &cobra.Command{
		Use:   "check",
		Short: "Report every error in file, environment and flags; starts nothing",
		Args:  cobra.NoArgs,
	}
	flags := addConfigFlags(check)
	check.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := flags.load(environ)
		if err != nil {
			return err
		}
		what := "defaults, environment and flags"
		if l.file != "" {
			what = l.file + ", environment and flags"
		}
		for _, w := range l.config.Warnings() {
			fmt.Fprintln(cmd.OutOrStdout(), "warning: "+w.Error())
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), what+": no errors")
		return err
	}
	return check
}

func newPrintCommand(environ []string) *cobra.Command {
	show := &cobra.Command{
		Use:   "print",
		Short: "Print the effective configuration as YAML, secrets hidden",
		Args:  cobra.NoArgs,
	}
	withOrigin := show.Flags().Bool("origin", false, "say behind each value where it came from")
	flags := addConfigFlags(show)
	show.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := flags.load(environ)
		if err != nil {
			return err
		}
		return printConfig(cmd.OutOrStdout(), l, *withOrigin)
	}
	return show
}

const defaultConfigFile = "gateway.yaml"

func newInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write " + defaultConfigFile + " with every setting, its meaning and its default",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := defaultConfigFile
			if len(args) > 0 {
				name = args[0]
			}
			if err := initConfig(name); err != nil {
				return &runtimeError{err}
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "wrote %s; start with: gateway --config %s\n", name, name)
			return err
		},
	}
}

// initConfig writes a new file. Its mode keeps secrets that are put into it later from other users.
func initConfig(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists and is left as it is; give another name: gateway config init FILE", name)
	}
	if err != nil {
		return err
	}
	return errors.Join(writeTemplate(f), f.Close())
}

// writeTemplate writes the defaults as a file to edit, each with its meaning above it.
func writeTemplate(w io.Writer) error {
	var out strings.Builder
	out.WriteString("# Configuration of the gateway. Everything here is the default; delete what you do not change.\n" +
		"# Check it with: gateway config check --config THIS-FILE\n")
	config := gateway.Default()
	eachLine(func(indent string, sec *section) {
		fmt.Fprintf(&out, "\n%s# %s\n%s%s:\n", indent, sec.doc, indent, lastName(sec.path))
	}, func(indent string, s *setting) {
		if indent == "" {
			out.WriteByte('\n')
		}
		fmt.Fprintf(&out, "%s# %s\n", indent, s.doc)
		if s.row != nil {
			out.WriteString(s.row.comment(indent))
		}
		fmt.Fprintf(&out, "%s%s: %s\n", indent, lastName(s.path), s.yamlText(&config))
	})
	_, err := io.WriteString(w, out.String())
	return err
}

// printConfig writes the effective values; the result is itself a valid file.
func printConfig(w io.Writer, l *loaded, withOrigin bool) error {
	var out strings.Builder
	writeLine := func(line, path string) {
		if withOrigin {
			line = fmt.Sprintf("%-60s # %s", line, l.origins[path].text(l.file))
		}
		out.WriteString(line + "\n")
	}
	eachLine(func(indent string, sec *section) {
		fmt.Fprintf(&out, "%s%s:\n", indent, lastName(sec.path))
	}, func(indent string, s *setting) {
		value := s.value(&l.config)
		if s.kind == kindRows && value.Len() > 0 {
			writeLine(indent+lastName(s.path)+":", s.path)
			for i := range value.Len() {
				writeLine(indent+"  - "+hideURLSecrets(s.yamlElement(value.Index(i))), fmt.Sprintf("%s[%d]", s.path, i))
			}
			return
		}
		text := hideURLSecrets(s.yamlText(&l.config))
		if s.secret && !value.IsZero() {
			text = quoteYAML(hidden)
		}
		writeLine(indent+lastName(s.path)+": "+text, s.path)
	})
	_, err := io.WriteString(w, out.String())
	return err
}

// text is an origin as config print shows it.
func (o origin) text(file string) string {
	switch o.source {
	case fromFile:
		return fmt.Sprintf("%s:%d", file, o.line)
	case fromEnv:
		return "env " + o.name
	case fromFlag:
		return "flag " + o.name
	}
	return "default"
}

// eachLine walks the schema in the order of a file: the settings of the root, then section by section.
func eachLine(onSection func(indent string, sec *section), onSetting func(indent string, s *setting)) {
	for _, sec := range configSchema.sections {
		indent := ""
		if sec.path != "" {
			depth := strings.Count(sec.path, ".")
			onSection(strings.Repeat("  ", depth), sec)
			indent = strings.Repeat("  ", depth+1)
		}
		for _, s := range sec.settings {
			onSetting(indent, s)
		}
	}
}
