#!/bin/sh
. "$(dirname "$0")/../lib.sh"
exec "$out/$name"
