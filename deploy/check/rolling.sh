#!/usr/bin/env bash
# A rolling restart under load: two ingress and two normalizer processes behind haproxy, with deploy/haproxy/haproxy.cfg.
# No attempt may fail, and the ledger must be clean.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/check/lib.sh

need haproxy haproxy || fail "this check needs haproxy"
cargo test --quiet --locked -p e2e --test rolling >&2 || fail "a rolling restart under load"
version=$("$(path_of haproxy)" -v | sed -n '1s/.*version \([^ ]*\).*/\1/p')
ok "rolling restarts behind haproxy $version: no failed attempt, a clean ledger"
