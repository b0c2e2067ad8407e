package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/gateway/auth"
)

func newScramCommand() *cobra.Command {
	iterations := auth.IterationsMin
	c := &cobra.Command{
		Use:   "scram NAME",
		Short: "Print a user's line for auth.scram_file; the password is asked for, or read from standard input",
		Example: "  gateway scram pump-7 >> users.scram\n" +
			"  gateway scram pump-7 < password.txt >> users.scram",
		Args: cobra.ExactArgs(1),
	}
	c.Flags().IntVar(&iterations, "iterations", iterations, "rounds of the key derivation, `N`; each login costs the device that many, the gateway none")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := auth.CheckUser(args[0], iterations); err != nil {
			return err
		}
		password, err := readPassword(cmd.InOrStdin(), cmd.ErrOrStderr())
		if err != nil {
			return &runtimeError{err}
		}
		salt := make([]byte, auth.SaltBytes)
		_, _ = rand.Read(salt) // never fails
		user, err := auth.NewUser(args[0], password, salt, iterations)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), user)
		return err
	}
	return c
}

// readPassword reads a line. On a terminal it asks twice, and what is typed is not shown.
func readPassword(in io.Reader, prompt io.Writer) (string, error) {
	lines := bufio.NewReader(in)
	f, ok := in.(*os.File)
	if !ok || !isTerminal(f) {
		return readLine(lines)
	}
	show, err := hideTyping(int(f.Fd()))
	if err != nil {
		return "", err
	}
	defer show()
	var typed [2]string
	for i, ask := range []string{"Password: ", "Again: "} {
		fmt.Fprint(prompt, ask)
		typed[i], err = readLine(lines)
		fmt.Fprintln(prompt)
		if err != nil {
			return "", err
		}
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two passwords differ; nothing was printed")
	}
	return typed[0], nil
}

// readLine reads a line without its end. A file may lack that.
func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil && (!errors.Is(err, io.EOF) || line == "") {
		return "", fmt.Errorf("no password on standard input: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// hideTyping turns the terminal's echo off until show is called or the command is interrupted.
func hideTyping(fd int) (show func(), err error) {
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	hidden := *before
	hidden.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	restore := func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, before) }
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, unix.SIGINT, unix.SIGTERM)
	go func() {
		if _, ok := <-interrupted; ok {
			restore()
			os.Exit(exitRuntime)
		}
	}()
	return func() {
		signal.Stop(interrupted)
		close(interrupted)
		restore()
	}, nil
}
