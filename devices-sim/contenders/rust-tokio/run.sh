#!/bin/sh
. "$(dirname "$0")/../lib.sh"
exec "$out/target/release/rust-tokio"
