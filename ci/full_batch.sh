#!/usr/bin/env bash
# A disk that fills in the middle of an atomic batch: imchannel stores batches only on servers that pass this. A batch that the server
# acknowledges is stored whole, one that it refuses not at all, and after any other outcome every message can be stored again, alone,
# under its id, and is then in the stream once. Each disk is a small tmpfs in a user namespace of its own.
#   ci/full_batch.sh                  the nats-server of Debian sid
#   ci/full_batch.sh NATS-SERVER...   these servers
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/lib/checks.sh
. ci/lib/debian.sh

isolated() { unshare --user --map-root-user --mount --kill-child "$@"; }

need python3 python3 || fail "this check needs python3"
work="$CHECKS/full_batch"
mkdir -p "$work/probe"
# shellcheck disable=SC2016  # for the inner shell
if ! refusal=$(isolated sh -c 'mount -t tmpfs -o size=1m tmpfs "$0"' "$work/probe" 2>&1); then
  not_checked "a disk that fills in a batch: the kernel gives no tmpfs in a user namespace (${refusal:-unshare failed})"
  exit 0
fi
if [ $# = 0 ]; then
  if folder=$(debian_newer sid nats-server); then
    found="$folder/usr/sbin/nats-server"
    [ -x "$found" ] || found="$folder/usr/bin/nats-server"
    set -- "$found"
  else
    not_checked "a disk that fills in a batch: the nats-server of Debian sid could not be fetched"
    exit 0
  fi
fi
for server in "$@"; do
  version=$("$server" --version | sed 's/.* v//')
  log="$work/$version.log"
  isolated python3 -u ci/full_batch/run.py "$server" >"$log" 2>&1 ||
    { cat "$log" >&2; fail "a disk that fills in a batch under nats-server $version"; }
  sed 's/^/     /' "$log"
  ok "a disk that fills in a batch under nats-server $version"
done
