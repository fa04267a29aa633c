#!/usr/bin/env bash
# The contract documents: docs/asyncapi.yaml, docs/openapi.yaml and docs/openapi-timeline.yaml are valid and lint clean, proto/ is compatible with the last
# release, and a running gateway answers over HTTP as docs/openapi.yaml says. tests/e2e/contracts/mod.rs compares the documents with
# the code on NATS.
#   ci/contracts.sh             checks
#   ci/contracts.sh released    after a release: makes the present proto/ the base of later comparisons
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=ci/lib/checks.sh
. ci/lib/checks.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python_for_checks
tools=$(dirname "$PYTHON")

# must_fail WHAT COMMAND...: the check must find the fault in a wrong document.
must_fail() {
  local what=$1
  shift
  if "$@" >/dev/null 2>&1; then fail "$what passed, but must fail"; fi
}

# Node.js with the packages of ci/contracts/npm. Sets DOCUMENTS; returns non-zero if there is no Node.js.
node_for_checks() {
  local home="$CHECKS/npm" major
  command -v npm >/dev/null || return 1
  major=$(node -p 'process.versions.node.split(".")[0]') || return 1
  [ "$major" -ge 20 ] || return 1
  mkdir -p "$home"
  cp ci/contracts/npm/{package.json,package-lock.json,.npmrc,documents.mjs} "$home/"
  if ! cmp -s ci/contracts/npm/package-lock.json "$home/installed.json"; then
    printf 'preparing Node.js for the checks\n' >&2
    # Run no scripts of packages: they are not needed.
    (cd "$home" && npm ci --silent --no-fund --no-audit --ignore-scripts) || return 1
    cp ci/contracts/npm/package-lock.json "$home/installed.json"
  fi
  DOCUMENTS="$home/documents.mjs"
}

check_proto() {
  "$tools/buf" lint proto || fail "buf lint proto"
  ok "proto lint (buf $("$tools/buf" --version), STANDARD)"
  "$tools/buf" breaking proto --against proto/released.binpb || fail "proto is not compatible with the last release"
  # A renamed field has another name in JSON.
  cp -R proto "$work/"
  sed -i.old 's/string command_id = 1;/string command = 1;/' "$work/proto/imchannel/v1/command.proto"
  must_fail "a renamed field" "$tools/buf" breaking "$work/proto" --against proto/released.binpb
  ok "proto against the last release (WIRE_JSON)"
}

check_documents() {
  "$tools/openapi-spec-validator" docs/openapi.yaml >/dev/null || fail "docs/openapi.yaml"
  sed 's/ in: path,/ in: nowhere,/' docs/openapi.yaml >"$work/openapi.yaml"
  must_fail "a parameter that is nowhere" "$tools/openapi-spec-validator" "$work/openapi.yaml"
  ok "docs/openapi.yaml is OpenAPI 3.1"
  "$tools/openapi-spec-validator" docs/openapi-timeline.yaml >/dev/null || fail "docs/openapi-timeline.yaml"
  ok "docs/openapi-timeline.yaml is OpenAPI 3.1"
  if ! node_for_checks; then
    not_checked "docs/asyncapi.yaml, and the lint of docs/openapi.yaml: no Node.js 20 with npm, or its packages cannot be installed"
    return
  fi
  node "$DOCUMENTS" openapi docs/openapi.yaml || fail "docs/openapi.yaml has findings"
  sed 's/operationId: ready/operationId: live/' docs/openapi.yaml >"$work/openapi.yaml"
  must_fail "a duplicate operation id" node "$DOCUMENTS" openapi "$work/openapi.yaml"
  ok "docs/openapi.yaml lint"
  node "$DOCUMENTS" openapi docs/openapi-timeline.yaml || fail "docs/openapi-timeline.yaml has findings"
  ok "docs/openapi-timeline.yaml lint"
  node "$DOCUMENTS" asyncapi docs/asyncapi.yaml || fail "docs/asyncapi.yaml has findings"
  sed "s#/messages/Webhook' }#/messages/Nothing' }#" docs/asyncapi.yaml >"$work/asyncapi.yaml"
  must_fail "a missing message" node "$DOCUMENTS" asyncapi "$work/asyncapi.yaml"
  sed "s/Imchannel-Replayed: 'true', /Imchannel-Again: 'true', /" docs/asyncapi.yaml >"$work/asyncapi.yaml"
  must_fail "an example with an unknown header" node "$DOCUMENTS" asyncapi "$work/asyncapi.yaml"
  ok "docs/asyncapi.yaml is AsyncAPI 3.0, and its examples match its schemas"
}

check_running() {
  local program
  program="$(newest_build)/imchannel"
  if [ "$program" = /imchannel ]; then
    not_checked "docs/openapi.yaml against a running gateway: build it first (cargo build --bin imchannel)"
  elif ! need nats-server nats-server || ! need redis-server redis-server; then
    not_checked "docs/openapi.yaml against a running gateway: no nats-server or no redis-server"
  else
    "$PYTHON" ci/contracts/running.py "$program" docs/openapi.yaml "$work" || fail "the gateway does not answer as docs/openapi.yaml says"
  fi
}

case "${1:-}" in
  '') check_proto; check_documents; check_running ;;
  released) "$tools/buf" build proto --as-file-descriptor-set --exclude-source-info -o proto/released.binpb ;;
  *) sed -n '5,6p' "$0"; exit 2 ;;
esac
