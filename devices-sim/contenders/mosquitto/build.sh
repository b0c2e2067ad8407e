#!/bin/sh
. "$(dirname "$0")/../lib.sh"
PATH=$PATH:/usr/sbin
has mosquitto || missing "apt-get install mosquitto"
