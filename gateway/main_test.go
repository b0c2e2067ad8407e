package gateway

import (
	"flag"
	"os"
	"testing"
)

// TestMain lets more tests run at a time than there are processors: most of them wait, for clocks and for NATS.
func TestMain(m *testing.M) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if !set {
		_ = flag.Set("test.parallel", "8") // there is such a flag
	}
	os.Exit(m.Run())
}
