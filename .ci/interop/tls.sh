#!/usr/bin/env bash
# openssl s_client, curl, mosquitto_pub and mosquitto_sub over TLS against a running gateway:
# tls.sh DIR MQTTS WSS TLS OPTIONAL REQUIRED
# DIR has the certificates of certs.sh; the others are ports, the last two those of mqtts that want, or demand, certificates of devices.
# Prints one line for each behaviour; exits with the number of those that failed.
set -u
cd "$1" || exit 1
mqtts=$2 wss=$3 tls=$4 optional=$5 required=$6
failed=0
subscriber=0
trap '[ "$subscriber" = 0 ] || kill "$subscriber" 2>/dev/null' EXIT

check() { # name, wanted, got
  if [ "$2" = "$3" ]; then
    echo "ok    $1"
  else
    echo "FAIL  $1: wanted '$2', got '$3'"
    failed=$((failed + 1))
  fi
}

# CONNECT (3.1.1, no client id), PINGREQ, DISCONNECT, upon which the gateway closes; and what it answers before.
connect='\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00\xc0\x00\xe0\x00'
answer=20020000d000

# device PORT ARGS: a device that is openssl. Prints what the gateway answers, or the alert that it gets instead.
device() {
  local port=$1 got
  shift
  # shellcheck disable=SC2059 # the format is the packet
  got=$(printf "$connect" | timeout 20 openssl s_client -quiet -verify_return_error -CAfile ca.pem -connect "127.0.0.1:$port" "$@" 2>errors | od -An -v -tx1 | tr -d ' \n')
  echo "${got:-alert $(grep -o 'SSL alert number .*' errors | head -n 1 | tr -dc 0-9)}"
}

# told PATTERN PORT ARGS: what openssl tells of a connection as a whole.
told() {
  local pattern=$1 port=$2
  shift 2
  # shellcheck disable=SC2059
  printf "$connect" | timeout 20 openssl s_client -ign_eof -CAfile ca.pem -connect "127.0.0.1:$port" "$@" 2>&1 | grep -a -o -m 1 -E "$pattern"
}

for version in 1_2 1_3; do
  name="openssl TLS ${version/_/.}"
  check "$name MQTT" $answer "$(device "$mqtts" -tls$version)"
  check "$name certificate by default" "subject=CN = server" "$(told 'subject=.*' "$mqtts" -tls$version)"
  check "$name certificate by SNI" "subject=CN = other" "$(told 'subject=.*' "$mqtts" -tls$version -servername other.test)"
  check "$name name and chain verified" $answer "$(device "$mqtts" -tls$version -servername other.test -verify_hostname other.test)"
  check "$name ALPN mqtt" "ALPN protocol: mqtt" "$(told 'ALPN protocol: .*' "$tls" -tls$version -alpn mqtt)"
  check "$name ALPN http/1.1" "ALPN protocol: http/1.1" "$(told 'ALPN protocol: .*' "$tls" -tls$version -alpn h2,http/1.1)"
  check "$name ALPN of somebody else" "alert 120" "$(device "$tls" -tls$version -alpn nonsense)"
  check "$name first session" New "$(told '^(New|Reused)' "$mqtts" -tls$version -sess_out "session$version")"
  check "$name resumed" Reused "$(told '^(New|Reused)' "$mqtts" -tls$version -sess_in "session$version")"
  check "$name resumed, MQTT" $answer "$(device "$mqtts" -tls$version -sess_in "session$version")"
  check "$name chacha20" $answer "$(device "$mqtts" -tls$version -cipher ECDHE-ECDSA-CHACHA20-POLY1305 -ciphersuites TLS_CHACHA20_POLY1305_SHA256)"

  show() { device "$1" -tls$version -cert "$2.pem" -key "$2.key"; }
  check "$name certificate optional: none" $answer "$(device "$optional" -tls$version)"
  check "$name certificate optional: good" $answer "$(show "$optional" device)"
  check "$name certificate optional: revoked" "alert 49" "$(show "$optional" revoked)"
  check "$name certificate optional: of a stranger" "alert 48" "$(show "$optional" stranger)"
  check "$name certificate required: good" $answer "$(show "$required" device)"
  check "$name certificate required: revoked" "alert 49" "$(show "$required" revoked)"
done
check "openssl TLS 1.2 certificate required: none" "alert 40" "$(device "$required" -tls1_2)"
check "openssl TLS 1.3 certificate required: none" "alert 116" "$(device "$required" -tls1_3)"
check "openssl TLS 1.1" "alert 70" "$(device "$mqtts" -tls1_1 -cipher DEFAULT@SECLEVEL=0)"

# status ARGS: the status of HTTP, and what curl says of its end: 28 where the connection stayed open.
status() {
  local code
  code=$(curl -s -m 1 -o /dev/null -w '%{http_code}' --cacert ca.pem "$@")
  echo "$code, $?"
}
upgrade=(-H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==')
for port in $wss $tls; do
  name="curl $([ "$port" = "$wss" ] && echo wss || echo tls)"
  check "$name upgrade" "101, 28" "$(status "${upgrade[@]}" -H 'Sec-WebSocket-Protocol: mqtt' "https://localhost:$port/mqtt")"
  check "$name upgrade, wrong subprotocol" "400, 0" "$(status "${upgrade[@]}" -H 'Sec-WebSocket-Protocol: soap' "https://localhost:$port/mqtt")"
  check "$name without upgrade" "426, 0" "$(status "https://localhost:$port/mqtt")"
  check "$name without TLS" "000, 52" "$(status "http://localhost:$port/mqtt")"
done
check "curl mqtts" "000, 35" "$(status "https://localhost:$mqtts/mqtt")"

# round NAME PORT ARGS: a message from mosquitto_pub to mosquitto_sub.
round() {
  local name=$1 port=$2 topic="interop/tls/$RANDOM"
  shift 2
  : >out
  stdbuf -oL timeout 20 mosquitto_sub -d -h localhost -p "$port" -W 15 -q 1 -t "$topic" -C 1 "$@" >out 2>&1 &
  subscriber=$!
  for _ in $(seq 300); do
    grep -q '^Subscribed' out && break
    kill -0 $subscriber 2>/dev/null || break
    sleep 0.05
  done
  timeout 20 mosquitto_pub -h localhost -p "$port" -q 1 -t "$topic" -m "by $name" "$@"
  wait $subscriber
  subscriber=0
  check "mosquitto $name" "by $name" "$(grep -a -v -E '^(Client |Subscribed|Received )' out)"
}

refused() { # name, port, args
  local name=$1 port=$2
  shift 2
  timeout 20 mosquitto_pub -h localhost -p "$port" -q 1 -t interop/tls -m x "$@" >out 2>&1
  check "mosquitto $name: refused" refused "$([ $? = 0 ] && echo accepted || echo refused)"
}

for version in mqttv31 mqttv311 mqttv5; do
  round "$version mqtts" "$mqtts" -V $version --cafile ca.pem
  round "$version tls, ALPN" "$tls" -V $version --cafile ca.pem --tls-alpn mqtt
done
round "tls, no ALPN" "$tls" --cafile ca.pem
round "TLS 1.2" "$mqtts" --cafile ca.pem --tls-version tlsv1.2
round "certificate required" "$required" --cafile ca.pem --cert device.pem --key device.key
refused "certificate required: none" "$required" --cafile ca.pem
refused "certificate revoked" "$required" --cafile ca.pem --cert revoked.pem --key revoked.key
refused "gateway of an unknown authority" "$mqtts" --cafile unknown.pem

exit $failed
