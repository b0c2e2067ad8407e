#!/bin/sh
. "$(dirname "$0")/../lib.sh"
jars=/usr/share/java
has javac && [ -e $jars/netty-codec-http.jar ] || missing "apt-get install default-jdk-headless libnetty-java"
classpath=$out
for part in common buffer resolver transport codec handler codec-http; do
  classpath=$classpath:$jars/netty-$part.jar
done
echo "$classpath" >"$out/classpath"
javac -Xlint:all -Werror -cp "$classpath" -d "$out" ./*.java
version "Netty $(dpkg-query -W -f '${Version}' libnetty-java), $(java -version 2>&1 | sed -n 1p)"
