#!/bin/sh
. "$(dirname "$0")/../lib.sh"
build_go github.com/nats-io/nats-server/v2
