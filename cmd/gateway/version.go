package main

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the release build: -ldflags "-X main.version=1.2.3".
var version string

// versionText is the version as it is shown: of the release, of the module, or of the commit.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "dev-" + s.Value[:12]
		}
	}
	return "dev"
}

func newVersionCommand() *cobra.Command {
	var bom bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, or what is in this binary",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if bom {
				info, ok := debug.ReadBuildInfo()
				if !ok {
					return &runtimeError{errors.New("this binary does not say what it was built from; build it with Go modules")}
				}
				return writeSBOM(cmd.OutOrStdout(), info, versionText())
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "gateway %s %s/%s %s\n", versionText(), runtime.GOOS, runtime.GOARCH, runtime.Version())
			return err
		},
	}
	cmd.Flags().BoolVar(&bom, "sbom", false, "print a bill of materials instead: every module in this binary, as CycloneDX JSON")
	return cmd
}
