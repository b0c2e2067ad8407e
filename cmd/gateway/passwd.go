package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/gateway/auth"
)

func newPasswdCommand() *cobra.Command {
	cost, bcrypt, remove := auth.DefaultHashCost, false, false
	c := &cobra.Command{
		Use:   "passwd FILE NAME",
		Short: "Give a user a password in a password file; it is asked for, or read from standard input",
		Example: "  gateway passwd users.passwd pump-7\n" +
			"  gateway passwd users.passwd pump-7 < password.txt\n" +
			"  gateway passwd --delete users.passwd pump-7",
		Long: "gateway passwd puts a user with a new password into a password file for auth.chains, which it makes if there is none,\n" +
			"or takes the user out of it. A running gateway reads the file within seconds, and closes the connections of a user\n" +
			"whose line has changed.",
		Args: cobra.ExactArgs(2),
	}
	c.Flags().BoolVar(&bcrypt, "bcrypt", false, "hash with bcrypt instead of argon2id, for others that read the file")
	c.Flags().BoolVar(&remove, "delete", false, "take the user out of the file")
	c.Flags().Uint32Var(&cost.KiB, "memory", cost.KiB, "memory in `KiB` that argon2id needs for one login")
	c.Flags().Uint32Var(&cost.Passes, "passes", cost.Passes, "passes of argon2id over it, `N`; a login takes the gateway as long as this")
	c.MarkFlagsMutuallyExclusive("bcrypt", "delete")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		file, name := args[0], args[1]
		if remove {
			return editPasswords(file, name, "")
		}
		if err := auth.CheckPassword(name, cost); err != nil {
			return err
		}
		password, err := readPassword(cmd.InOrStdin(), cmd.ErrOrStderr())
		if err != nil {
			return &runtimeError{err}
		}
		line, err := passwordLine(name, password, cost, bcrypt)
		if err != nil {
			return err
		}
		return editPasswords(file, name, line)
	}
	return c
}

func passwordLine(name, password string, cost auth.HashCost, bcrypt bool) (string, error) {
	if bcrypt {
		return auth.NewBcrypt(name, password)
	}
	salt := make([]byte, auth.SaltBytes)
	_, _ = rand.Read(salt) // never fails
	return auth.NewPassword(name, password, salt, cost)
}

// editPasswords has a file hold this line of a user, or none if it is empty. Whoever reads the file finds it as it was or as it is to be; two who edit it
// at once do so one after the other.
func editPasswords(file, name, line string) error {
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return &runtimeError{err}
	}
	defer dir.Close() // which gives back the lock
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return &runtimeError{fmt.Errorf("lock %s: %w", dir.Name(), err)}
	}
	text, err := os.ReadFile(file)
	if err != nil && (!errors.Is(err, os.ErrNotExist) || line == "") {
		return &runtimeError{err}
	}
	if len(text) > 0 {
		if _, err := auth.ParsePasswords(file, text); err != nil {
			return &runtimeError{fmt.Errorf("%w; nothing was changed", err)}
		}
	}
	changed, found := auth.PutLine(text, name, line)
	if line == "" && !found {
		return &runtimeError{fmt.Errorf("%s has no user %q", file, name)}
	}
	if err := replaceFile(file, changed); err != nil {
		return &runtimeError{err}
	}
	return nil
}

// replaceFile writes a file that only its owner may read, and has it take the place of the one that there is at once. The owner stays.
func replaceFile(file string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if old, statErr := os.Stat(file); statErr == nil {
		if sys, ok := old.Sys().(*syscall.Stat_t); ok && (int(sys.Uid) != os.Getuid() || int(sys.Gid) != os.Getgid()) {
			if err = f.Chown(int(sys.Uid), int(sys.Gid)); err != nil {
				return errors.Join(fmt.Errorf("%s belongs to somebody else: %w", file, err), f.Close())
			}
		}
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
