#!/usr/bin/env bash
# mosquitto_pub and mosquitto_sub against a running gateway: mosquitto.sh HOST PORT
# Prints one line for each behaviour; exits with the number of those that failed.
set -u
host=$1 port=$2
work=$(mktemp -d)
failed=0
subscriber=0
trap 'rm -rf "$work"; [ "$subscriber" = 0 ] || kill "$subscriber" 2>/dev/null' EXIT

pub() { timeout 20 mosquitto_pub -h "$host" -p "$port" "$@"; }
sub() { timeout 20 mosquitto_sub -h "$host" -p "$port" -W 15 "$@"; }

# subscribe ARGS: a subscriber in the background; returns once the gateway has acknowledged the subscription.
subscribe() {
  : >"$work/out"
  stdbuf -oL timeout 20 mosquitto_sub -d -h "$host" -p "$port" -W 15 "$@" >"$work/out" 2>&1 &
  subscriber=$!
  until_subscribed "$subscriber" "$work/out"
}

until_subscribed() { # process, its output
  for _ in $(seq 200); do
    grep -q '^Subscribed' "$2" && return 0
    kill -0 "$1" 2>/dev/null || return 1
    sleep 0.05
  done
  return 1
}

# received: waits for the subscriber and prints the payloads it got, without what -d says about packets. It runs in a
# subshell, whose child the subscriber is not, so wait would not wait.
received() {
  for _ in $(seq 400); do
    kill -0 "$subscriber" 2>/dev/null || break
    sleep 0.05
  done
  grep -v -E '^(Client |Subscribed|Received )' "$work/out"
}

check() { # name, wanted, got
  if [ "$2" = "$3" ]; then
    echo "ok    $1"
  else
    echo "FAIL  $1: wanted '$2', got '$3'"
    failed=$((failed + 1))
  fi
}

for version in mqttv31 mqttv311 mqttv5; do
  for qos in 0 1 2; do
    topic="interop/$version/$qos"
    subscribe -V $version -q $qos -t "$topic/#" -C 1 || echo "no subscription"
    pub -V $version -q $qos -t "$topic/temp" -m "21.$qos"
    check "$version QoS $qos publish, subscribe" "21.$qos" "$(received)"
  done

  topic="interop/$version/retained"
  pub -V $version -q 1 -r -t "$topic" -m kept
  check "$version retained" kept "$(sub -V $version -t "$topic" -C 1)"
  pub -V $version -q 1 -r -n -t "$topic"
  check "$version retained deleted" "" "$(sub -V $version -t "$topic" -C 1 -W 1 2>/dev/null)"

  topic="interop/$version/will"
  subscribe -V $version -q 1 -t "$topic" -C 1 || echo "no subscription"
  stdbuf -oL mosquitto_sub -d -h "$host" -p "$port" -V $version -t "$topic/none" --will-topic "$topic" --will-payload gone --will-qos 1 >"$work/dying" 2>&1 &
  dying=$!
  until_subscribed $dying "$work/dying"
  kill -9 $dying
  wait $dying 2>/dev/null
  check "$version will" gone "$(received)"

  topic="interop/$version/offline"
  keep=(-c -i "offline-$version-$$")
  [ $version = mqttv5 ] && keep+=(-x 60)
  sub -V $version -q 1 -t "$topic" "${keep[@]}" -E
  for n in 1 2 3; do pub -V $version -q 1 -t "$topic" -m "m$n"; done
  check "$version offline queue in order" "m1 m2 m3" "$(sub -V $version -q 1 -t "$topic" "${keep[@]}" -C 3 | xargs)"
done

head -c 500000 /dev/zero | tr '\0' x >"$work/large"
subscribe -V mqttv5 -q 1 -t interop/large -C 1 -F %l || echo "no subscription"
pub -V mqttv5 -q 1 -t interop/large -f "$work/large"
check "500 kB payload" 500000 "$(received)"

subscribe -V mqttv5 -q 1 -t '$share/g/interop/shared' -C 1 || echo "no subscription"
pub -V mqttv5 -q 1 -t interop/shared -m once
check "shared subscription" once "$(received)"

subscribe -V mqttv5 -q 1 -t interop/props -C 1 -F '%C %R %D %P %p' || echo "no subscription"
pub -V mqttv5 -q 1 -t interop/props -m body -D publish content-type text/plain -D publish response-topic a/b \
  -D publish correlation-data 7 -D publish user-property k v
check "MQTT 5 properties" "text/plain a/b 7 k:v body" "$(received)"

exit $failed
