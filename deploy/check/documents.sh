#!/usr/bin/env bash
# The blocks of commands in the documents that are for compose and for Kubernetes (`./dev test` runs the others): every manifest, overlay,
# object, service, profile and option that they name exists, and the command line understands what is asked of it.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/check/lib.sh
. deploy/check/debian.sh
python_for_checks

programs=$(newest_build)
[ -n "$programs" ] || fail "there are no programs: cargo build --workspace --bins"
kinds=()
if find_kubectl; then
  REAL_KUBECTL=$(command -v kubectl)
  export REAL_KUBECTL
  kinds+=(--kind kubernetes)
else
  not_checked "blocks of commands for Kubernetes: there is no kubectl, and Debian's could not be fetched"
fi
if find_compose; then
  REAL_COMPOSE=$(printf '%s\n' "${compose[@]}" | "$PYTHON" -c 'import json, sys; print(json.dumps(sys.stdin.read().split()))')
  export REAL_COMPOSE
  kinds+=(--kind compose)
else
  not_checked "blocks of commands for compose: there is no docker compose 2.24 or later here, and none could be fetched"
fi
if [ ${#kinds[@]} -gt 0 ]; then
  "$PYTHON" tests/documents/run.py --programs "$programs" "${kinds[@]}" || fail "a block of commands for compose or Kubernetes"
  ok "blocks of commands for compose and Kubernetes: what they name exists"
fi
not_checked "blocks of commands for Kubernetes in a cluster: there is none here"
not_checked "blocks of commands for compose with containers: deploy/compose/README.md says what was tried by hand"
