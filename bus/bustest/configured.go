package bustest

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// Configured gives a server the accounts and users of a configuration file of nats-server.
func Configured(t testing.TB, file string) func(o *server.Options) {
	t.Helper()
	read, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatalf("bustest: %v", err)
	}
	return func(o *server.Options) { o.Accounts, o.Users = read.Accounts, read.Users }
}
