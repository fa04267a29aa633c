#!/usr/bin/env bash
# A full disk under NATS: servers of 2.9, 2.10 and 2.15, and three of them, each on a small tmpfs in a user namespace of its own.
# No webhook that was answered 200 may be lost, every command has one result, and no message goes out twice. If a server loses
# a stream's last sequence, ingress answers 503, doctor reports it, and `imchannel streams repair` repairs it. A failed check
# writes its evidence to target/check/full_disk/evidence.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/lib/checks.sh
. ci/lib/debian.sh

# Root of a namespace may mount a tmpfs there, invisible outside. The mounts end with it.
isolated() { unshare --user --map-root-user --mount --kill-child "$@"; }

need python3 python3 || fail "this check needs python3"
work="$CHECKS/full_disk"
rm -rf "$work/evidence"
mkdir -p "$work/probe"
# shellcheck disable=SC2016  # for the inner shell
if ! refusal=$(isolated sh -c 'mount -t tmpfs -o size=1m tmpfs "$0"' "$work/probe" 2>&1); then
  not_checked "a full disk under NATS: the kernel gives no tmpfs in a user namespace (${refusal:-unshare failed})"
  exit 0
fi
programs=$(newest_build)
[ -n "$programs" ] || fail "no programs in target/release or target/debug: cargo build --workspace --bins"
for name in $(compgen -e); do case $name in IMCHANNEL_*|OTEL_*) unset "$name" ;; esac; done

# check SERVER one|three
check() {
  local server=$1 form=$2 version log
  version=$("$server" --version | sed 's/.* v//')
  log="$work/$version-$form.log"
  isolated python3 -u ci/full_disk/run.py "$programs" "$server" "$form" >"$log" 2>&1 ||
    { cat "$log" >&2; fail "a full disk under $form nats-server $version"; }
  sed "s/^/     /" "$log"
  ok "a full disk under $form nats-server $version"
}

# The system's own, and those of newer Debians.
servers=()
if has nats-server; then servers+=("$(path_of nats-server)"); else not_checked "a full disk under this machine's nats-server: there is none"; fi
for suite in trixie sid; do
  if folder=$(debian_newer "$suite" nats-server); then
    found="$folder/usr/sbin/nats-server"
    [ -x "$found" ] || found="$folder/usr/bin/nats-server"
    servers+=("$found")
  else
    not_checked "a full disk under the nats-server of Debian $suite: it could not be fetched"
  fi
done

# Most of the time is waiting: all single servers run at the same time with the slowest three beside them, and then the other threes.
running=()
begin() { check "$@" & running+=($!); }
finish() {
  local status=0 one
  for one in ${running[@]+"${running[@]}"}; do wait "$one" || status=1; done
  running=()
  [ "$status" = 0 ] || exit "$status"
}
for server in ${servers[@]+"${servers[@]}"}; do begin "$server" one; done
for server in ${servers[@]+"${servers[@]:0:1}"}; do begin "$server" three; done
finish
for server in ${servers[@]+"${servers[@]:1}"}; do begin "$server" three; done
finish
