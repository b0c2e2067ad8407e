#!/bin/sh
. "$(dirname "$0")/../lib.sh"
exec java -Xms256m -Xmx2g -Dio.netty.leakDetection.level=disabled -cp "$(cat "$out/classpath")" Server
