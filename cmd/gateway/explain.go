package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/gateway"
)

// errNotAllowed has explain end with a code that a script can see.
var errNotAllowed = errors.New("not allowed")

func newExplainCommand(environ []string) *cobra.Command {
	explain := &cobra.Command{
		Use:   "explain",
		Short: "Tell which rule decides what a device may do",
		Long: `explain reads the configuration and the rules of acl.file and tells what a device would meet, and which rule decides it, as FILE:LINE.
Nothing is started, and nobody is asked: rules that come with a token or with the answer of a callback are not known here; they come
before those of the file. Topics are those that the device says: the prefix of its tenant is neither shown nor looked at.

Exit codes: 0 allowed · 1 not allowed · 2 wrong configuration or arguments.`,
		Args: rejectUnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	explain.AddCommand(
		explainCommand(environ, "connect", "Who is asked about a device that connects, and whether its will is taken", "topic of the will", gateway.ExplainConnect),
		explainCommand(environ, "publish", "Whether a device may publish on a topic", "topic", gateway.ExplainPublish),
		explainCommand(environ, "subscribe", "Whether a device may subscribe to a topic filter", "topic filter", gateway.ExplainSubscribe),
	)
	return explain
}

func explainCommand(environ []string, name, short, topic string, ask func(*gateway.Config, *gateway.Asked) (gateway.Explanation, error)) *cobra.Command {
	cmd := &cobra.Command{Use: name + " --client ID [flags]", Short: short, Args: cobra.NoArgs}
	var q gateway.Asked
	own := cmd.Flags()
	own.StringVar(&q.ClientID, "client", "", "client id of the device")
	own.StringVar(&q.User, "user", "", "user name that it has proved to have")
	own.StringVar(&q.Tenant, "tenant", "", "tenant that it belongs to")
	own.StringVar(&q.CN, "cn", "", "common name of its certificate")
	own.StringVar(&q.Topic, "topic", "", topic)
	own.Uint8Var(&q.QoS, "qos", 0, "quality of the message, subscription or will: 0, 1 or 2")
	own.IntVar(&q.Listener, "listener", 0, "through which of listeners it comes, counted from 0")
	if name != "subscribe" {
		own.BoolVar(&q.Retain, "retain", false, "the message is to be retained")
	}
	flags := addConfigFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case q.ClientID == "":
			return errors.New("whom? Give --client ID")
		case q.Topic == "" && name != "connect":
			return errors.New("which one? Give --topic")
		case q.QoS > 2:
			return fmt.Errorf("--qos %d is none of 0, 1 and 2", q.QoS)
		}
		l, err := flags.load(environ)
		if err != nil {
			return err
		}
		x, err := ask(&l.config, &q)
		if err != nil {
			return err
		}
		writeExplanation(cmd.OutOrStdout(), name, &q, &x)
		if !x.Allowed {
			return &runtimeError{errNotAllowed}
		}
		return nil
	}
	return cmd
}

// writeExplanation says what becomes of it first, and then why.
func writeExplanation(w io.Writer, name string, q *gateway.Asked, x *gateway.Explanation) {
	verdict := "allowed"
	if !x.Allowed {
		verdict = "denied"
	}
	what := name
	if q.Topic != "" {
		what += " " + q.Topic
	}
	fmt.Fprintf(w, "%s: %s, client %s\n", verdict, what, q.ClientID)
	for _, line := range x.Why {
		fmt.Fprintf(w, "  %s\n", line)
	}
}
