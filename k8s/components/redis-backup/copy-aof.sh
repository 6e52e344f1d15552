#!/bin/sh
# copy-aof.sh FROM TO [KEEP]
#
# Copies the append-only file of a running Redis (7.0 or newer: a folder with a manifest) to TO/<UTC time> and keeps the
# newest KEEP copies, 24 unless told otherwise. It asks Redis nothing and needs no rights there: a copy counts when the
# manifest is the same after it as before, so no rewrite came between; else it is made again. The end of the last file may
# be cut within a command, which Redis takes off when it loads (aof-load-truncated yes, its default).
#
# FROM is Redis's `dir`/`appenddirname`, to be read only. Prints the folder of the copy. Exits 1 where none could be made.
set -eu

if [ $# -lt 2 ]; then
  echo "usage: copy-aof.sh FROM TO [KEEP]" >&2
  exit 64
fi
from=$1
to=$2
keep=${3:-24}
partial=$to/.partial
tries=10

# a manifest that is being written is a file of its own, temp-…, until it takes the place of the one before
manifest=$(ls "$from" | grep '\.manifest$' | grep -v '^temp-') || {
  echo "copy-aof.sh: $from has no append-only file" >&2
  exit 1
}

copy_once() {
  before=$(cat "$from/$manifest")
  rm -rf "$partial"
  mkdir -p "$partial"
  # lines such as: file appendonly.aof.1.incr.aof seq 1 type i
  for file in $(echo "$before" | awk '$1 == "file" { print $2 }'); do
    cp "$from/$file" "$partial/$file" || return 1
  done
  printf '%s\n' "$before" >"$partial/$manifest"
  [ "$before" = "$(cat "$from/$manifest")" ]
}

until copy_once 2>/dev/null; do
  tries=$((tries - 1))
  if [ "$tries" -eq 0 ]; then
    rm -rf "$partial"
    echo "copy-aof.sh: no copy of $from: its manifest changed during each of ten tries" >&2
    exit 1
  fi
  sleep 1
done

copy=$to/$(date -u +%Y%m%dT%H%M%SZ)
if [ -e "$copy" ]; then
  sleep 1
  copy=$to/$(date -u +%Y%m%dT%H%M%SZ)
fi
sync
# on one file system a rename is all or nothing: what has a time as its name is whole
mv "$partial" "$copy"
echo "$copy"

# the names sort as their times do
for old in $(ls -1 "$to" | sort -r | tail -n "+$((keep + 1))"); do
  rm -rf "${to:?}/$old"
done
