#!/bin/sh
# Finds a redis-server or valkey-server of version 7.0 or newer; installs one where there is none. Says nothing when it
# finds one. The places are those where src/redis/embedded.ts looks.
set -eu

fail() {
  printf 'shardkeep: %s\n' "$1" >&2
  exit 1
}

find_redis() {
  if [ -n "${REDIS_SERVER_BIN:-}" ]; then
    [ -x "$REDIS_SERVER_BIN" ] || fail 'REDIS_SERVER_BIN names no program that can be run'
    printf '%s\n' "$REDIS_SERVER_BIN"
    return
  fi
  for name in redis-server valkey-server; do
    found=$(PATH="$PATH:/usr/bin:/usr/local/bin:/opt/homebrew/bin:/snap/bin" command -v "$name") || continue
    printf '%s\n' "$found"
    return
  done
  return 1
}

# "Redis server v=7.0.15 sha=…", "Valkey server v=8.0.1 sha=…"
check_version() {
  version=$("$1" --version | sed -n 's/.* v=\([0-9.]*\).*/\1/p')
  [ "${version%%.*}" -ge 7 ] 2>/dev/null ||
    fail "$1 is version ${version:-unknown}, and 7.0 is the oldest that will do; set REDIS_SERVER_BIN to a newer one"
}

# apt-get with the rights it needs. The package would start Redis as a service of this machine; a policy forbids that
# while it is installed.
install_with_apt() {
  log=$(mktemp)
  policy=
  trap 'rm -f "$log"; [ -z "$policy" ] || $sudo rm -f "$policy"' EXIT
  trap 'exit 130' INT TERM
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod 755 "$policy"
  fi
  apt="$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120"
  { $apt update && $apt install --no-install-recommends redis-server; } >"$log" 2>&1 || {
    tail -n 5 "$log" >&2
    fail 'apt-get could not install redis-server; install it or valkey-server by hand, then try again'
  }
}

if redis=$(find_redis); then
  check_version "$redis"
  exit 0
fi
[ -z "${REDIS_SERVER_BIN:-}" ] || exit 1

if command -v apt-get >/dev/null; then
  if [ "$(id -u)" = 0 ]; then
    sudo=
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo='sudo -n'
  else
    fail 'no redis-server here; type: sudo apt-get install -y redis-server'
  fi
  printf 'shardkeep: installing redis-server with apt-get\n'
  install_with_apt
elif command -v brew >/dev/null; then
  printf 'shardkeep: installing redis with brew\n'
  brew install redis
elif command -v dnf >/dev/null; then
  fail 'no redis-server here; type: sudo dnf install -y valkey'
elif command -v apk >/dev/null; then
  fail 'no redis-server here; type: apk add redis'
else
  fail 'no redis-server here; install Redis or Valkey, 7.0 or newer, or set REDIS_SERVER_BIN'
fi
redis=$(find_redis) || fail 'the package brought no redis-server; install one by hand, then try again'
check_version "$redis"
