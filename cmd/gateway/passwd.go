package main

import (
	"crypto/rand"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/gateway/auth"
)

func newPasswdCommand() *cobra.Command {
	cost := auth.DefaultHashCost
	c := &cobra.Command{
		Use:   "passwd NAME",
		Short: "Print a user's line for a password file; the password is asked for, or read from standard input",
		Example: "  gateway passwd pump-7 >> users.passwd\n" +
			"  gateway passwd pump-7 < password.txt >> users.passwd",
		Args: cobra.ExactArgs(1),
	}
	c.Flags().Uint32Var(&cost.KiB, "memory", cost.KiB, "memory in `KiB` that argon2id needs for one login")
	c.Flags().Uint32Var(&cost.Passes, "passes", cost.Passes, "passes of argon2id over it, `N`; a login takes the gateway as long as printing the line")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if err := auth.CheckPassword(args[0], cost); err != nil {
			return err
		}
		password, err := readPassword(cmd.InOrStdin(), cmd.ErrOrStderr())
		if err != nil {
			return &runtimeError{err}
		}
		salt := make([]byte, auth.SaltBytes)
		_, _ = rand.Read(salt) // never fails
		line, err := auth.NewPassword(args[0], password, salt, cost)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), line)
		return err
	}
	return c
}
