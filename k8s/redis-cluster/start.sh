#!/bin/sh
# Writes redis.conf of this Pod into /config. Its address is another one after each start: it tells the others.
set -eu
umask 077
{
  cat /settings/redis.conf
  echo "cluster-announce-ip $POD_IP"
  echo "masteruser replica"
  echo "masterauth $(cat /secrets/replica-password)"
} >/config/redis.conf
