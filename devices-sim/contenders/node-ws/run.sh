#!/bin/sh
. "$(dirname "$0")/../lib.sh"
NODE_ENV=production exec node "$out/server.mjs"
