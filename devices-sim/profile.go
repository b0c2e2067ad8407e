package main

import (
	"embed"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A profile is flags of run in a file: every key is the name of one. What the command line says wins. So there is one
// list of settings, with one meaning and one check each.

//go:embed profiles/*.yaml
var builtIn embed.FS

// profileNames are the built-in profiles, sorted.
func profileNames() []string {
	entries, err := builtIn.ReadDir("profiles")
	if err != nil {
		panic(err) // it is compiled in
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// readProfile returns a built-in profile, or the file of that name.
func readProfile(name string) (text []byte, file string, err error) {
	if slices.Contains(profileNames(), name) {
		file = path.Join("profiles", name+".yaml")
		text, err = builtIn.ReadFile(file)
		return text, name + ".yaml", err
	}
	if text, err = os.ReadFile(name); err != nil {
		return nil, "", fmt.Errorf("profile %q is none of %s, and no file: %w", name, strings.Join(profileNames(), ", "), err)
	}
	return text, name, nil
}

// setting is a key of a profile with its values and its place.
type setting struct {
	name   string
	values []string
	at     *token.Position
}

// parseProfile reads the settings of a profile. Errors name the place: file:line:column.
func parseProfile(text []byte, file string) ([]setting, error) {
	doc, err := parser.ParseBytes(text, 0)
	if err != nil {
		if located, ok := err.(yaml.Error); ok {
			return nil, wrong(file, located.GetToken().Position, "%s", located.GetMessage())
		}
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var list []setting
	for _, d := range doc.Docs {
		var entries []*ast.MappingValueNode
		switch body := d.Body.(type) {
		case nil, *ast.NullNode:
			continue
		case *ast.MappingNode:
			entries = body.Values
		case *ast.MappingValueNode:
			entries = []*ast.MappingValueNode{body}
		default:
			return nil, wrong(file, body.GetToken().Position, "want keys and values, one of each on a line")
		}
		for _, e := range entries {
			s := setting{name: e.Key.GetToken().Value, at: e.Key.GetToken().Position}
			if s.values, err = scalars(e.Value); err != nil {
				return nil, wrong(file, e.Value.GetToken().Position, "%s: %v", s.name, err)
			}
			list = append(list, s)
		}
	}
	return list, nil
}

// scalars are the values of a key: one, or a list.
func scalars(n ast.Node) ([]string, error) {
	if seq, ok := n.(*ast.SequenceNode); ok {
		var list []string
		for _, item := range seq.Values {
			one, err := scalars(item)
			if err != nil {
				return nil, err
			}
			list = append(list, one...)
		}
		return list, nil
	}
	scalar, ok := n.(ast.ScalarNode)
	if !ok || n.Type() == ast.NullType {
		return nil, fmt.Errorf("want a value, or a list of values")
	}
	return []string{scalar.GetToken().Value}, nil
}

func wrong(file string, at *token.Position, format string, args ...any) error {
	return fmt.Errorf("%s:%d:%d: %s", file, at.Line, at.Column, fmt.Sprintf(format, args...))
}

// instead are flags that make settings of a profile meaningless.
var instead = map[string][]string{
	"stages":   {"rate", "duration"},
	"rate":     {"stages", "flat-out"},
	"duration": {"stages"},
	"flat-out": {"rate", "stages"},
	"devices":  {"publishers"},
}

// apply sets the flags that the command line has not set. All mistakes of a profile are told at once.
func applyProfile(fs *pflag.FlagSet, name string) error {
	text, file, err := readProfile(name)
	if err != nil {
		return err
	}
	settings, err := parseProfile(text, file)
	if err != nil {
		return err
	}
	overruled := map[string]bool{}
	fs.Visit(func(given *pflag.Flag) {
		overruled[given.Name] = true
		for _, other := range instead[given.Name] {
			overruled[other] = true
		}
	})
	var errs []string
	for _, s := range settings {
		known := fs.Lookup(s.name)
		switch {
		case s.name == "about":
		case known == nil || slices.Contains(notInProfiles, s.name):
			errs = append(errs, wrong(file, s.at, "%q is no setting of a profile", s.name).Error())
		case overruled[s.name]:
		default:
			for _, value := range s.values {
				if err := fs.Set(s.name, value); err != nil {
					errs = append(errs, wrong(file, s.at, "%v", err).Error())
				}
			}
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("%s", strings.Join(errs, "\n"))
	}
	return nil
}

// notInProfiles are flags about this one run.
var notInProfiles = []string{"help", "json", "csv", "html", "pid", "seed"}

// aboutOf is what a profile says it is for.
func aboutOf(name string) (string, error) {
	text, file, err := readProfile(name)
	if err != nil {
		return "", err
	}
	settings, err := parseProfile(text, file)
	for _, s := range settings {
		if s.name == "about" && len(s.values) == 1 {
			return s.values[0], nil
		}
	}
	return "", err
}

func profilesCommand() *cobra.Command {
	list := &cobra.Command{
		Use:   "profiles",
		Short: "List the built-in profiles of run",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range profileNames() {
				about, err := aboutOf(name)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%-16s %s\n", name, about)
			}
			return nil
		},
	}
	list.AddCommand(&cobra.Command{
		Use:       "show NAME",
		Short:     "Print a profile, as a start for one of your own",
		Args:      cobra.ExactArgs(1),
		ValidArgs: profileNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, _, err := readProfile(args[0])
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	})
	return list
}
