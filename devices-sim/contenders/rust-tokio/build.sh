#!/bin/sh
. "$(dirname "$0")/../lib.sh"
registry=/usr/share/cargo/registry
install="apt-get install cargo librust-tokio-dev librust-bytes-dev librust-httparse-dev librust-sha1-dev"
has cargo || missing "$install"
for crate in tokio bytes httparse sha1; do
  ls -d $registry/$crate-[0-9]* >/dev/null 2>&1 || missing "$install"
done
# Cargo writes its lock file beside the manifest, so it builds a copy.
rm -rf "$out/src"
cp -R Cargo.toml src "$out/"
cargo build --release --offline --quiet --manifest-path "$out/Cargo.toml" --target-dir "$out/target" \
  --config 'source.crates-io.replace-with = "debian"' \
  --config "source.debian.directory = \"$registry\""
version "tokio $(sed -n '/^name = "tokio"$/{n;s/.*"\(.*\)"/\1/p}' "$out/Cargo.lock"), $(rustc --version)"
