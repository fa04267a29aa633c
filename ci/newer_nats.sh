#!/usr/bin/env bash
# Users, permissions and TLS on newer servers: runs tests of the suite, which run on the installed nats-server, again on the
# nats-server of a newer Debian, which reads the whole deploy/nats/nats.conf (`sync_interval: always` needs 2.10).
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/lib/checks.sh
. ci/lib/debian.sh

for suite in trixie sid; do
  if folder=$(debian_newer "$suite" nats-server); then
    server="$folder/usr/sbin/nats-server"
    [ -x "$server" ] || server="$folder/usr/bin/nats-server"
    version=$("$server" --version)
    PATH="$(dirname "$server"):$PATH" cargo test --quiet --locked -p e2e --test e2e -- \
      security:: cli::doctor:: nats_outage::a_leader bus::group_commit bus::publish_headers >&2 ||
      fail "users, TLS, doctor or group commit with $version"
    ok "users, TLS, doctor and group commit on $version"
  else
    not_checked "users, TLS and doctor with the nats-server of Debian $suite: it could not be fetched"
  fi
done
