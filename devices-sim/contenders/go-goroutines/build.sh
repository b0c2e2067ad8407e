#!/bin/sh
. "$(dirname "$0")/../lib.sh"
build_go github.com/gorilla/websocket
