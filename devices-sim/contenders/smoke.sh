#!/usr/bin/env bash
# Builds and starts every contender that is installed, and checks that it does its work: a broker delivers in order at
# QoS 0 and 1, a WebSocket server echoes every message and puts it on NATS. What is missing is named and skipped.
#
#   devices-sim/contenders/smoke.sh              all of them
#   devices-sim/contenders/smoke.sh mochi aedes  these only
#
# BENCH_BUILD is where things are built, a folder in the user's cache by default.
set -u
cd "$(dirname "$0")" || exit 1
export BENCH_BUILD=${BENCH_BUILD:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate-bench}
brokers=(mosquitto natsmqtt mochi aedes)
websockets=(node-ws go-goroutines java-netty rust-tokio)
only=("$@")
work=$(mktemp -d)
passed=0 failed=0 skipped=0
pid=0 nats_pid=0

cleanup() {
  for p in $pid $nats_pid; do [ "$p" = 0 ] || kill -9 "$p" 2>/dev/null; done
  rm -rf "$work"
}
trap cleanup EXIT

wanted() {
  [ ${#only[@]} = 0 ] && return 0
  local o
  for o in "${only[@]}"; do [ "$o" = "$1" ] && return 0; done
  return 1
}

pass() {
  passed=$((passed + 1))
  printf '%-14s ok    %s\n' "$1" "$2"
}

fail() {
  failed=$((failed + 1))
  printf '%-14s FAIL  %s\n' "$1" "$2"
  sed 's/^/    /' "$work/$1".* 2>/dev/null | tail -n 20
}

skip() {
  skipped=$((skipped + 1))
  printf '%-14s skip  %s\n' "$1" "$2"
}

alive() { # a process that has ended but is not collected is gone too
  local state
  state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) && [[ $state != Z* ]]
}

# build NAME: 0 built, 69 something is not installed, other failed; says so itself.
build() {
  "./$1/build.sh" >"$work/$1.build" 2>&1
  local status=$?
  case $status in
    0) ;;
    69) skip "$1" "$(tail -n 1 "$work/$1.build")" ;;
    *) fail "$1" "build" ;;
  esac
  return $status
}

# start NAME PORT: the process is $started, and it accepts connections.
start() {
  BENCH_PORT=$2 "./$1/run.sh" >"$work/$1.out" 2>"$work/$1.err" &
  started=$!
  local i
  for ((i = 0; i < 400; i++)); do
    grep -qx ready "$work/$1.out" && return 0
    alive "$started" || return 1
    sleep 0.05
  done
  return 1
}

# stop PID: SIGTERM has to be enough.
stop() {
  kill -TERM "$1" 2>/dev/null
  local i
  for ((i = 0; i < 200; i++)); do
    alive "$1" || { wait "$1" 2>/dev/null; return 0; }
    sleep 0.05
  done
  return 1
}

# delivers PORT QOS: 500 messages by one publisher reach one subscriber, in order.
delivers() {
  local sub=$work/sub.log sent=$work/sent.log i
  seq -f 'message %g' 500 >"$sent"
  stdbuf -oL mosquitto_sub -h 127.0.0.1 -p "$1" -V mqttv311 -i "smoke-sub-$2" -q "$2" -t "smoke/$2/#" \
    -d -F 'got:%p' -C 500 -W 20 >"$sub" 2>&1 &
  local subscriber=$!
  for ((i = 0; i < 200; i++)); do
    grep -q '^Subscribed' "$sub" && break
    sleep 0.05
  done
  mosquitto_pub -h 127.0.0.1 -p "$1" -V mqttv311 -i "smoke-pub-$2" -q "$2" -t "smoke/$2/a" -l <"$sent" || return 1
  wait "$subscriber" || return 1
  sed -n 's/^got://p' "$sub" | cmp -s - "$sent"
}

check_broker() { delivers "$1" 0 && delivers "$1" 1; }

check_websocket() { "$BENCH_BUILD/smoke/smoke" ws "$1" "$BENCH_NATS"; }

# trial NAME CHECK: build, start, check, stop.
trial() {
  local name=$1 port used
  wanted "$name" || return
  build "$name" || return
  port=$("$BENCH_BUILD/smoke/smoke" port)
  if ! start "$name" "$port"; then
    fail "$name" "did not get ready"
    kill -9 "$started" 2>/dev/null
    return
  fi
  pid=$started
  if ! "$2" "$port" >"$work/$name.check" 2>&1; then
    fail "$name" "check"
    kill -9 "$pid" 2>/dev/null
    pid=0
    return
  fi
  used=$(awk '/^VmRSS/ { printf "%.1f MB resident", $2 / 1024 }' "/proc/$pid/status")
  if stop "$pid"; then pass "$name" "$used"; else fail "$name" "still there 10 s after SIGTERM"; fi
  pid=0
}

build smoke || { echo "without the checker nothing can be checked"; exit 1; }

if command -v mosquitto_pub >/dev/null; then
  for name in "${brokers[@]}"; do trial "$name" check_broker; done
else
  for name in "${brokers[@]}"; do wanted "$name" && skip "$name" "missing: apt-get install mosquitto-clients"; done
fi

nats_port=$("$BENCH_BUILD/smoke/smoke" port)
if build nats && start nats "$nats_port"; then
  nats_pid=$started
  export BENCH_NATS=nats://127.0.0.1:$nats_port
  for name in "${websockets[@]}"; do trial "$name" check_websocket; done
  stop "$nats_pid" && nats_pid=0
else
  fail nats "did not get ready"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
