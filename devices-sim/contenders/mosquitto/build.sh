#!/bin/sh
. "$(dirname "$0")/../lib.sh"
PATH=$PATH:/usr/sbin
has mosquitto || missing "apt-get install mosquitto"
version "$(mosquitto -h | sed -n '1s/ version//p')"
