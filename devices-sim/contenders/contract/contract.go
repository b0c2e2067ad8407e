// Package contract is what every contender in Go has in common: where it listens, when it is ready, when it ends.
package contract

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

// Host is the only address a contender listens on.
const Host = "127.0.0.1"

// Port is the number in the environment variable name; without one the process ends.
func Port(name string) int {
	port, err := strconv.Atoi(os.Getenv(name))
	if err != nil || port < 1 || port > 65535 {
		Fail(fmt.Errorf("%s=%q is not a port", name, os.Getenv(name)))
	}
	return port
}

// Address is where BENCH_PORT says to listen.
func Address() string { return net.JoinHostPort(Host, strconv.Itoa(Port("BENCH_PORT"))) }

// ServeUntilTerm says that connections are accepted and returns when the process is asked to end.
func ServeUntilTerm() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM, os.Interrupt)
	fmt.Println("ready")
	<-term
}

// Fail ends the process with a reason on standard error.
func Fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
