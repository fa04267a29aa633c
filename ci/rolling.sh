#!/usr/bin/env bash
# Rolling restarts under load behind haproxy, with deploy/haproxy/haproxy.cfg: first with the same programs, then an upgrade from the
# previous version and back, in the order of docs/operations.md. No attempt may fail, no replica
# may be unready, and no message may be lost or duplicated. Then senders of both versions share a ledger, and die at the worst moments.
#   ci/rolling.sh            checks
#   ci/rolling.sh --build    only builds the programs of the previous version, while other checks wait
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/lib/checks.sh

# The previous version. IMCHANNEL_CHECK_PREVIOUS (a full commit id) overrides it.
PREVIOUS=${IMCHANNEL_CHECK_PREVIOUS:-da5b106dee5ac30a0d107c02c30876774f9ee1cb}

previous="$CHECKS/previous/$PREVIOUS"

# build_previous: builds the programs of the previous version.
build_previous() {
  local program
  printf 'building the previous version (%s)\n' "${PREVIOUS:0:12}" >&2
  rm -rf "$previous"
  mkdir -p "$previous/source"
  git archive "$PREVIOUS" | tar -x -C "$previous/source"
  (cd "$previous/source" && CARGO_TARGET_DIR="$previous/target" cargo build --quiet --locked --workspace --bins) >&2 ||
    fail "the previous version does not build"
  # The wanted folder is the last one.
  for program in imchannel-ingress imchannel-normalizer imchannel-sender imchannel-media imchannel-timeline imchannel; do
    # A version from before the timeline has none.
    [ "$program" = imchannel-timeline ] && [ ! -e "$previous/target/debug/$program" ] && continue
    cp "$previous/target/debug/$program" "$previous/"
  done
  rm -rf "$previous/source" "$previous/target"
}

has_previous() { [ -x "$previous/imchannel" ]; }
is_in_clone() { git cat-file -e "$PREVIOUS^{commit}" 2>/dev/null; }

if [ "${1:-}" = --build ]; then
  if ! has_previous && is_in_clone; then build_previous; fi
  exit 0
fi
need haproxy haproxy || fail "this check needs haproxy"
version=$("$(path_of haproxy)" -v | sed -n '1s/.*version \([^ ]*\).*/\1/p')
if has_previous || is_in_clone; then
  has_previous || build_previous
  IMCHANNEL_TEST_PREVIOUS_PROGRAMS=$previous cargo test --quiet --locked -p e2e --test rolling -- --test-threads 1 >&2 ||
    fail "a rolling restart under load"
  ok "rolling restarts behind haproxy $version: no failed attempt, nothing lost or duplicated"
  ok "each caller behind haproxy $version is limited separately"
  ok "upgrade from the previous version (${PREVIOUS:0:12}) and back: never unready, nothing lost, nothing sent twice"
  ok "senders of both versions on one ledger, one dying before the result: each understands the other's entries, nothing sent twice"
else
  # A clone without history, or not a clone.
  cargo test --quiet --locked -p e2e --test rolling -- no_attempt_fails each_caller >&2 || fail "a rolling restart under load"
  ok "rolling restarts behind haproxy $version: no failed attempt, nothing lost or duplicated"
  ok "each caller behind haproxy $version is limited separately"
  not_checked "an upgrade from the previous version: commit ${PREVIOUS:0:12} is not in this clone"
fi
