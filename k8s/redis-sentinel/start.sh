#!/bin/sh
# Writes redis.conf and sentinel.conf of this Pod into /config: who is the master, the sentinels know; when none of them
# does, it is the first start, and the first Pod is.
set -eu
name=$(hostname)
self=$name.redis

known=
for n in 0 1 2; do
  known=$(REDISCLI_AUTH=$(cat /secrets/sentinel-password) timeout 3 redis-cli -h "redis-$n.redis" -p 26379 \
    --user shardkeep sentinel get-master-addr-by-name shardkeep 2>/dev/null | head -n 1) || true
  case $known in redis-*) break ;; *) known= ;; esac
done
master=${known:-redis-0.redis}

umask 077
{
  cat /settings/redis.conf
  echo "replica-announce-ip $self"
  echo "masteruser replica"
  echo "masterauth $(cat /secrets/replica-password)"
  [ "$master" = "$self" ] || echo "replicaof $master 6379"
} >/config/redis.conf

{
  echo "port 26379"
  echo "protected-mode no"
  echo "dir /tmp"
  # Pods change their addresses and keep their names
  echo "sentinel resolve-hostnames yes"
  echo "sentinel announce-hostnames yes"
  echo "sentinel announce-ip $self"
  echo "sentinel monitor shardkeep $master 6379 2"
  echo "sentinel down-after-milliseconds shardkeep 5000"
  echo "sentinel failover-timeout shardkeep 30000"
  echo "sentinel auth-user shardkeep sentinel"
  echo "sentinel auth-pass shardkeep $(cat /secrets/sentinel-redis-password)"
  # who asks a sentinel, and the sentinels among each other
  echo "user default off"
  echo "user shardkeep on >$(cat /secrets/sentinel-password) allchannels +@all"
  echo "sentinel sentinel-user shardkeep"
  echo "sentinel sentinel-pass $(cat /secrets/sentinel-password)"
} >/config/sentinel.conf
echo "$self: the master is $master"
