// Command gateway is the front door for devices on NATS: it lets them in over MQTT and WebSocket and carries their
// messages onto NATS subjects and back.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// The exit codes, as --help and docs/operations.md tell them.
const (
	exitClean   = 0
	exitRuntime = 1
	exitConfig  = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// runtimeError marks what went wrong although the configuration was right.
type runtimeError struct{ err error }

func (e *runtimeError) Error() string { return e.err.Error() }
func (e *runtimeError) Unwrap() error { return e.err }

// run is main with everything handed in; it returns the exit code.
func run(args, environ []string, stdout, stderr io.Writer) int {
	root := newRoot(environ)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	if err == nil {
		return exitClean
	}
	var wrongConfig *configError
	if errors.As(err, &wrongConfig) {
		fmt.Fprintln(stderr, wrongConfig)
		return exitConfig
	}
	fmt.Fprintln(stderr, "gateway: "+hideURLSecrets(err.Error()))
	var failed *runtimeError
	if errors.As(err, &failed) {
		return exitRuntime
	}
	fmt.Fprintln(stderr, "usage: gateway --help")
	return exitConfig
}

const longHelp = `gateway lets devices in over MQTT 3.1, 3.1.1, 5.0 and WebSocket, puts their messages on NATS subjects and
carries the answers back. Without arguments it serves this machine only, with a NATS server inside it.

Every setting can stand in the file, in the environment (nats.url is GATEWAY_NATS_URL; lists are
separated by commas) or, for the common ones, in a flag; the later of these wins. GATEWAY_CONFIG names
the file when --config does not. gateway config print --origin shows what is in force and why.

Exit codes: 0 stopped cleanly · 1 failure while starting or running · 2 wrong configuration or arguments.
Signals: SIGTERM and SIGINT send the devices away at a pace and stop; a second one stops at once.
SIGHUP reads certificates, users, secrets, the keys of tokens and rules again; the gateway looks after them by itself as well.`

func newRoot(environ []string) *cobra.Command {
	root := &cobra.Command{
		Use:           "gateway",
		Short:         "The front door for devices on NATS: MQTT and WebSocket",
		Long:          longHelp,
		Args:          rejectUnknownCommand,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	flags := addConfigFlags(root)
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := flags.load(environ)
		if err != nil {
			return err
		}
		return serve(l, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	root.SetFlagErrorFunc(explainFlagError)
	root.AddCommand(newConfigCommand(environ), newExplainCommand(environ), newPasswdCommand(), newScramCommand(), newBanCommand(environ), newVersionCommand())
	return root
}

// rejectUnknownCommand names the command that was probably meant.
func rejectUnknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	hint := ""
	if near := nearest(args[0], names); near != "" {
		hint = fmt.Sprintf(", did you mean %q?", near)
	}
	return fmt.Errorf("unknown command %q%s", args[0], hint)
}
