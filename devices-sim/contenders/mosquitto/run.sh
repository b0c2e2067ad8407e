#!/bin/sh
. "$(dirname "$0")/../lib.sh"
PATH=$PATH:/usr/sbin
conf=$out/$BENCH_PORT.conf
sed "s/@PORT@/$BENCH_PORT/" mosquitto.conf >"$conf"

# Mosquitto does not say when it listens; the kernel's table does, without a connection that would count as a device.
# The watcher is nobody's child (mosquitto collects none) and ends with mosquitto.
listening=$(printf '0100007F:%04X 00000000:0000 0A' "$BENCH_PORT")
(
  (
    while kill -0 $$ 2>/dev/null; do
      if grep -q "$listening" /proc/net/tcp; then
        echo ready
        exit
      fi
      sleep 0.05
    done
  ) &
)
exec mosquitto -c "$conf"
