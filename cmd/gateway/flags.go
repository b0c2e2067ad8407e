package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tidegate/tidegate/gateway"
)

// flagTable says which flags fill which settings. What has no flag is set in the file or the environment.
var flagTable = []struct{ name, path, usage string }{
	{"listen", "listeners", "`mqtt://ADDR` | ws://ADDR | any://ADDR, with TLS mqtts, wss or tls, where devices connect; repeat it for several"},
	{"share-port", "share_port", "let other gateways of this user listen on the same addresses; needs an external NATS"},
	{"admin", "admin", "`ADDR` of /livez, /readyz and /metrics; empty for none"},
	{"auth-anonymous", "auth.anonymous", "`WHERE` devices may connect without credentials: loopback, anywhere or nobody"},
	{"nats", "nats.url", "`embedded`, or nats://HOST:PORT[,...] of external servers"},
	{"nats-listen", "nats.listen", "`ADDR` where the embedded NATS listens; empty for nowhere"},
	{"nats-creds", "nats.creds", "`FILE` with user JWT and seed"},
	{"nats-nkey", "nats.nkey", "`FILE` with an nkey seed"},
	{"nats-token", "nats.token", "`TOKEN`; others on this machine see it, GATEWAY_NATS_TOKEN they do not"},
	{"nats-user", "nats.user", "`NAME` to log in with"},
	{"nats-password", "nats.password", "`PASSWORD`; others on this machine see it, GATEWAY_NATS_PASSWORD they do not"},
	{"nats-tls", "nats.tls.enabled", "use TLS even when the URL does not say tls://"},
	{"nats-tls-ca", "nats.tls.ca", "PEM `FILE` of the authorities to trust"},
	{"nats-tls-cert", "nats.tls.cert", "PEM `FILE` of the client certificate"},
	{"nats-tls-key", "nats.tls.key", "PEM `FILE` of the client key"},
	{"data", "data", "`DIR` of the embedded NATS server's streams"},
	{"node", "node", "`NAME` of this gateway in NATS, logs and metrics"},
	{"loops", "loops", "event loops, `N`; 0 is one for every two cores"},
	{"log-level", "log.level", "`LEVEL`: debug, info, warn or error"},
	{"log-format", "log.format", "`FORMAT`: json, pretty or auto"},
	{"diagnostics", "diagnostics", "offer /echo on WebSocket listeners"},
}

// configFlags are the flags of one command. They record texts and never fail: their errors belong into the one
// report with those of the file and the environment.
type configFlags struct {
	set  *pflag.FlagSet
	file string
}

type recordedFlag struct {
	texts []string
	kind  kind
}

func (f *recordedFlag) String() string { return "" }
func (f *recordedFlag) Set(s string) error {
	f.texts = append(f.texts, s)
	return nil
}
func (f *recordedFlag) Type() string { return "" }

// IsBoolFlag lets pflag show the flag without a value.
func (f *recordedFlag) IsBoolFlag() bool { return f.kind == kindSwitch }

func addConfigFlags(cmd *cobra.Command) *configFlags {
	cf := &configFlags{set: cmd.Flags()}
	cf.set.SortFlags = false
	cf.set.StringVarP(&cf.file, "config", "c", "", "YAML `FILE`; gateway config init writes one")
	defaults := gateway.Default()
	for _, row := range flagTable {
		s := configSchema.byPath[row.path]
		usage := row.usage
		if text := s.yamlText(&defaults); text != `""` && text != "false" {
			usage += " (default " + strings.Trim(text, "[]") + ")"
		}
		flag := cf.set.VarPF(&recordedFlag{kind: s.kind}, row.name, "", usage)
		if s.kind == kindSwitch {
			flag.NoOptDefVal = "true"
		}
	}
	return cf
}

// load makes the configuration from these flags, the environment and the file.
func (cf *configFlags) load(environ []string) (*loaded, error) {
	src := sources{file: cf.file, environ: environ}
	for _, row := range flagTable {
		if f := cf.set.Lookup(row.name); f.Changed {
			src.flags = append(src.flags, flagValue{name: "--" + row.name, path: row.path, texts: f.Value.(*recordedFlag).texts})
		}
	}
	return load(src)
}

// explainFlagError adds the flag that was probably meant.
func explainFlagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := nearest(unknown.GetSpecifiedName(), names); near != "" {
		return fmt.Errorf("%w, did you mean --%s?", err, near)
	}
	return err
}
