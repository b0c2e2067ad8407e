package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/gateway"
)

func newBanCommand(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "ban",
		Short: "Keep client ids, users and addresses out of all gateways on one NATS",
		Args:  rejectUnknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(newBanAddCommand(environ), newBanListCommand(environ), newBanRemoveCommand(environ))
	return c
}

// banned are the flags that say who.
type banned struct{ client, user, address string }

func addBanned(cmd *cobra.Command) *banned {
	b := &banned{}
	cmd.Flags().StringVar(&b.client, "client", "", "client `ID`")
	cmd.Flags().StringVar(&b.user, "user", "", "user `NAME`")
	cmd.Flags().StringVar(&b.address, "address", "", "`ADDR` or network, such as 192.0.2.0/24")
	return b
}

// who is the one that is named.
func (b *banned) who() (kind, name string, err error) {
	for _, w := range []struct{ kind, name string }{{bus.BanClient, b.client}, {bus.BanUser, b.user}, {bus.BanAddress, b.address}} {
		if w.name == "" {
			continue
		}
		if kind != "" {
			return "", "", errors.New("give only one of --client, --user and --address")
		}
		kind, name = w.kind, w.name
	}
	if kind == "" {
		return "", "", errors.New("who? Give --client ID, --user NAME or --address ADDR")
	}
	return kind, name, nil
}

func newBanAddCommand(environ []string) *cobra.Command {
	var reason string
	var lasts time.Duration
	c := &cobra.Command{
		Use:   "add",
		Short: "Ban somebody; whoever of them is connected is sent away",
		Example: "  gateway ban add --client pump-7 --for 1h --reason 'floods alarms'\n" +
			"  gateway ban add --address 192.0.2.0/24 --nats nats://nats.example:4222",
		Args: cobra.NoArgs,
	}
	who := addBanned(c)
	c.Flags().DurationVar(&lasts, "for", 0, "`TIME` after which it ends; without, when it is removed")
	c.Flags().StringVar(&reason, "reason", "", "`TEXT` for those who read the list")
	flags := addConfigFlags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		kind, name, err := who.who()
		if err != nil {
			return err
		}
		ban, err := gateway.NewBan(kind, name, reason, lasts)
		if err != nil {
			return err
		}
		return withNATS(cmd.Context(), flags, environ, func(ctx context.Context, b *bus.Bus) error {
			if err := b.PutBan(ctx, ban); err != nil {
				return err
			}
			until := "until it is removed"
			if !ban.Until.IsZero() {
				until = "until " + ban.Until.Format(time.RFC3339)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "banned: %s %q, %s\n", ban.Kind, ban.Name, until)
			return err
		})
	}
	return c
}

func newBanRemoveCommand(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:     "remove",
		Short:   "End a ban",
		Example: "  gateway ban remove --client pump-7",
		Args:    cobra.NoArgs,
	}
	who := addBanned(c)
	flags := addConfigFlags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		kind, name, err := who.who()
		if err == nil {
			name, err = gateway.BanName(kind, name)
		}
		if err != nil {
			return err
		}
		return withNATS(cmd.Context(), flags, environ, func(ctx context.Context, b *bus.Bus) error {
			found, err := b.RemoveBan(ctx, kind, name)
			switch {
			case err != nil:
				return err
			case !found:
				return fmt.Errorf("no %s %q is banned; gateway ban list shows who is", kind, name)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "no more banned: %s %q\n", kind, name)
			return err
		})
	}
	return c
}

func newBanListCommand(environ []string) *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "Show who is banned",
		Args:  cobra.NoArgs,
	}
	asJSON := c.Flags().Bool("json", false, "a JSON object in each line")
	flags := addConfigFlags(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return withNATS(cmd.Context(), flags, environ, func(ctx context.Context, b *bus.Bus) error {
			all, err := b.Bans(ctx)
			if err != nil {
				return err
			}
			return printBans(cmd.OutOrStdout(), all, *asJSON)
		})
	}
	return c
}

func printBans(w io.Writer, all []bus.Ban, asJSON bool) error {
	if asJSON {
		lines := json.NewEncoder(w)
		for i := range all {
			if err := lines.Encode(&all[i]); err != nil {
				return err
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KIND\tNAME\tUNTIL\tREASON\tBY")
	for i := range all {
		b := &all[i]
		until := "removed"
		if !b.Until.IsZero() {
			until = b.Until.Format(time.RFC3339)
		}
		fmt.Fprintf(table, "%s\t%q\t%s\t%q\t%q\n", b.Kind, b.Name, until, b.Reason, b.By)
	}
	return table.Flush()
}

// withNATS does something over the NATS of the configuration.
func withNATS(ctx context.Context, flags *configFlags, environ []string, do func(ctx context.Context, b *bus.Bus) error) error {
	l, err := flags.load(environ)
	if err != nil {
		return err
	}
	if ctx == nil {
		ctx = context.Background()
	}
	b, err := gateway.DialNATS(ctx, &l.config)
	if err != nil {
		return &runtimeError{err}
	}
	err = do(ctx, b)
	if closed := b.Close(ctx); err == nil {
		err = closed
	}
	if err != nil {
		return &runtimeError{err}
	}
	return nil
}
