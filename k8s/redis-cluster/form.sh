#!/bin/sh
# Makes one Cluster of the six: three masters, a replica each. Done before, it changes nothing.
set -eu
export REDISCLI_AUTH
REDISCLI_AUTH=$(cat /secrets/admin-password)

nodes=
for n in 0 1 2 3 4 5; do
  host=redis-cluster-$n.redis-cluster
  until redis-cli -h "$host" --user admin ping 2>/dev/null | grep -q PONG; do sleep 1; done
  nodes="$nodes $(getent hosts "$host" | awk '{ print $1; exit }'):6379"
done
if redis-cli -h redis-cluster-0.redis-cluster --user admin cluster info | grep -q 'cluster_known_nodes:1[^0-9]'; then
  # shellcheck disable=SC2086  # one word each
  redis-cli --user admin --cluster create $nodes --cluster-replicas 1 --cluster-yes
fi
