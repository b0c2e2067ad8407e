# What the build.sh and run.sh of every contender share. They source it as ../lib.sh and stand in their own folder.
set -eu
cd "$(dirname "$0")"
name=$(basename "$PWD")
: "${BENCH_BUILD:?a directory outside the repository for what is built}"
case $BENCH_BUILD in
  /*) ;;
  *) echo "BENCH_BUILD=$BENCH_BUILD is not an absolute path" >&2 && exit 64 ;;
esac
out=$BENCH_BUILD/$name
mkdir -p "$out"

# missing COMMAND: something this contender needs is not installed; COMMAND would install it.
missing() {
  echo "missing: $*" >&2
  exit 69
}

# version WORD...: what was built, for the report.
version() { echo "version: $*"; }

has() { command -v "$1" >/dev/null 2>&1; }

# build_go [MODULE]: no module is downloaded here, so that nothing is installed silently. The version is that of the module
# the server is made of, or of the server itself.
build_go() {
  has go || missing "Go 1.26 or newer, https://go.dev/dl/"
  GOPROXY=off go list -deps . >/dev/null 2>&1 || missing "go -C '$(dirname "$PWD")' mod download"
  GOPROXY=off CGO_ENABLED=0 go build -trimpath -o "$out/$name" .
  version "$(go version -m "$out/$name" | awk -v module="${1:-}" \
    'NR == 1 { go = $NF } $1 == "dep" && $2 == module { sub(".*github.com/", "", $2); found = $2 " " $3 ", " } END { print found go }')"
}

# build_npm PACKAGE: the packages live beside the copy of the source, never in the repository. The version is that of the
# one the server is made of.
build_npm() {
  has node && has npm || missing "Node.js 20 or newer: apt-get install nodejs npm"
  cp package.json package-lock.json server.mjs "$out/"
  npm ls --prefix "$out" >/dev/null 2>&1 || missing "npm ci --ignore-scripts --no-audit --no-fund --prefix '$out'"
  version "$1 $(node -p 'require(process.argv[1]).version' "$out/node_modules/$1/package.json"), Node.js $(node --version)"
}
