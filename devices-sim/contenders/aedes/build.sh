#!/bin/sh
. "$(dirname "$0")/../lib.sh"
build_npm aedes
