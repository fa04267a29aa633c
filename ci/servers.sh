#!/usr/bin/env bash
# Do haproxy, nats-server and redis-server accept their configuration files? The servers themselves check them, on loopback, with the
# example secrets. tests/e2e proves what each user may do.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/lib/checks.sh
. ci/lib/debian.sh

example=deploy/compose/example
[ -d "$example" ] || fail "$example does not exist (imchannel secrets generate --example)"
work="$CHECKS/servers"
rm -rf "$work"
mkdir -p "$work"
started=()
# shellcheck disable=SC2317  # called at the end
stop() {
  if [ ${#started[@]} -gt 0 ]; then kill "${started[@]}" 2>/dev/null || true; fi
  wait 2>/dev/null || true
}
trap stop EXIT

# free_port: a port that is free now.
free_port() { "$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# until_true COMMAND…: retries for at most ten seconds.
until_true() {
  local left=100
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    [ "$left" -gt 0 ] || return 1
    sleep 0.1
  done
}

python_for_checks

# --- haproxy: the version of compose (3.0), and the machine's
haproxy_takes() { "$1" -c -f deploy/haproxy/haproxy.cfg >"$work/haproxy.log" 2>&1 && ! grep -q WARNING "$work/haproxy.log"; }
version_of_haproxy() { "$1" -v | awk 'NR == 1 { print $3 }'; }
if need haproxy haproxy; then
  haproxy=$(path_of haproxy)
  haproxy_takes "$haproxy" || fail "haproxy.cfg: $(cat "$work/haproxy.log")"
  ok "haproxy.cfg (haproxy $(version_of_haproxy "$haproxy"))"
  mkdir "$work/haproxy"
  "$PYTHON" ci/servers/haproxy_log.py "$haproxy" "$work/haproxy" || fail "the log of haproxy"
  ok "haproxy logs refused requests, without addresses, queries and the paths of files"
else
  not_checked "haproxy.cfg by this machine's haproxy: there is none"
fi
if newer=$(debian_program trixie haproxy usr/sbin/haproxy libssl3t64 liblua5.4-0 libcrypt1 libpcre2-8-0 libzstd1 zlib1g \
  libjemalloc2 libgcc-s1) && "$newer" -v >/dev/null 2>&1; then
  haproxy_takes "$newer" || fail "haproxy.cfg: $(cat "$work/haproxy.log")"
  ok "haproxy.cfg (haproxy $(version_of_haproxy "$newer"))"
else
  not_checked "haproxy.cfg by haproxy 3.0: it could not be fetched, or does not run here"
fi

# --- NATS: Debian 12 has 2.9, which has no sync_interval
nats() {
  local folder server version port monitor url
  if folder=$(debian_newer trixie nats-server); then
    server="$folder/usr/sbin/nats-server"
  elif has nats-server; then
    server=$(path_of nats-server)
  else
    not_checked "nats.conf: there is no nats-server"
    return
  fi
  version=$("$server" --version | sed 's/.* v//')
  if [ "$(printf '%s\n2.10.0\n' "$version" | sort -V | head -n 1)" != 2.10.0 ]; then
    not_checked "nats.conf: nats-server $version has no sync_interval, and no newer one could be fetched"
    return
  fi
  set -a
  # shellcheck disable=SC1091
  . "$example/nats/users.env"
  set +a
  "$server" -t -c deploy/nats/nats.conf >"$work/nats.log" 2>&1 || fail "nats.conf: $(cat "$work/nats.log")"
  ok "nats.conf and users.conf (nats-server $version)"

  # Start it too: the same files, on loopback, with a separate store.
  port=$(free_port) monitor=$(free_port)
  cp deploy/nats/users.conf "$work/"
  sed -e "s|0.0.0.0:4222|127.0.0.1:$port|; s|0.0.0.0:8222|127.0.0.1:$monitor|; s|store_dir: /data|store_dir: $work/nats|" \
    deploy/nats/nats.conf >"$work/nats.conf"
  "$server" -c "$work/nats.conf" >"$work/nats.log" 2>&1 &
  started+=($!)
  url="http://127.0.0.1:$monitor"
  healthy() { "$PYTHON" -c "import urllib.request as u; u.urlopen('$url/healthz?js-server-only=true', timeout=1)"; }
  until_true healthy || fail "nats-server does not become healthy: $(tail -n 5 "$work/nats.log")"
  "$PYTHON" - "$url" "$port" <<'PYTHON' || fail "nats-server runs, but not as nats.conf says"
import json, socket, sys, urllib.request

url, port = sys.argv[1], int(sys.argv[2])
varz = json.load(urllib.request.urlopen(f"{url}/varz", timeout=5))
assert varz["jetstream"]["config"]["sync_always"], "it does not sync before it acknowledges"
assert varz["max_payload"] == 1024 * 1024, varz["max_payload"]
assert varz["auth_required"], "it accepts clients without a user"
accounts = json.load(urllib.request.urlopen(f"{url}/accountz", timeout=5))["accounts"]
assert "IMCHANNEL" in accounts and "AICC" in accounts, accounts
with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
    lines = client.makefile("rb")
    assert lines.readline().startswith(b"INFO ")
    client.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
    assert b"Authorization Violation" in lines.readline(), "a client without a key was accepted"
PYTHON
  ok "nats-server $version runs with them: synced, healthy, refuses clients without a key"
}
nats

# --- Redis
redis() {
  local server version port
  if ! need redis-server redis-server; then
    not_checked "redis.conf: there is no redis-server"
    return
  fi
  server=$(path_of redis-server)
  version=$("$server" --version | sed 's/.* v=\([^ ]*\).*/\1/')
  port=$(free_port)
  mkdir -p "$work/redis"
  sed -e "s|^port .*|port $port|; s|^bind .*|bind 127.0.0.1|; s|^dir .*|dir $work/redis|" \
    -e "s|^aclfile .*|aclfile $PWD/$example/redis/users.acl|" deploy/redis/redis.conf >"$work/redis.conf"
  "$server" "$work/redis.conf" --maxmemory 64mb >"$work/redis.log" 2>&1 &
  started+=($!)
  ask() {
    local user=$1 password=none
    shift
    if [ "$user" != probe ]; then password=$(cat "$example/redis/$user.password"); fi
    redis-cli -e --no-auth-warning -p "$port" --user "$user" --pass "$password" "$@" 2>&1
  }
  until_true ask probe ping || fail "redis-server does not answer: $(tail -n 3 "$work/redis.log")"
  if redis-cli -e -p "$port" ping >/dev/null 2>&1; then fail "redis-server accepts clients without a user"; fi
  if ask probe info >/dev/null; then fail "user probe may do more than PING"; fi
  ask operator info memory | grep -q '^maxmemory_policy:noeviction' || fail "redis.conf: the policy is not noeviction"
  ask operator info memory | grep -q '^maxmemory:67108864' || fail "redis.conf: --maxmemory has no effect"
  # A file is stored in a transaction, which a server must replay from its log.
  printf '%s\n' multi 'set IMChannel:MultimediaMessage:check kept ex 60' exec | ask media | grep -q '^OK' ||
    fail "user media may not store a file"
  ask provisioner -x function load <crates/blob/src/functions.lua | grep -q '^imchannel_v1' ||
    fail "user provisioner may not load functions"
  if ask sender eval 'return 1' 0 >/dev/null; then fail "user sender may run scripts"; fi
  # A killed process loses nothing that is in its log; while the disk syncs, Redis delays writes to it.
  for written in IMChannel:MultimediaMessage:check imchannel_v1; do
    until_true grep -aqs "$written" "$work"/redis/appendonlydir/*.incr.aof || fail "redis-server does not write $written to its log"
  done
  kill -9 "${started[-1]}"
  wait "${started[-1]}" 2>/dev/null || true
  "$server" "$work/redis.conf" >>"$work/redis.log" 2>&1 &
  started[-1]=$!
  until_true ask probe ping || fail "redis-server does not restart: $(tail -n 3 "$work/redis.log")"
  [ "$(ask media getrange IMChannel:MultimediaMessage:check 0 9)" = kept ] || fail "redis.conf: a killed server lost its files"
  [ "$(ask sender fcall imchannel_v1_loaded 0)" = 1 ] || fail "redis.conf: a killed server lost its functions"
  ok "redis.conf and users.acl (redis-server $version): runs, policy, users; files and functions survive a kill"
}
redis
