#!/usr/bin/env bash
# The command blocks of the documents for compose and Kubernetes (`./dev test` runs the others): every manifest, overlay,
# object, service, profile and option in them exists, and the command line accepts every command.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/lib/checks.sh
. ci/lib/debian.sh
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
  if ! docker info >/dev/null 2>&1; then
    not_checked "blocks of commands for compose with containers: there is no container engine here"
  elif images=$(ci/compose/images.sh); then
    # With these images the blocks start containers.
    IMAGES=$(printf '%s\n' "$images" | "$PYTHON" -c 'import json, sys; print(json.dumps(dict(line.strip().split("=") for line in sys.stdin)))')
    export IMAGES
    tag=${images#IMCHANNEL_VERSION=}
    tag=${tag%%$'\n'*}
    trap 'docker images --format "{{.Repository}}:{{.Tag}}" | grep ":$tag\$" | xargs docker image rm >/dev/null' EXIT
  else
    not_checked "blocks of commands for compose with containers: the images could not be made"
  fi
else
  not_checked "blocks of commands for compose: there is no docker compose 2.24 or later here, and none could be fetched"
fi
if [ ${#kinds[@]} -gt 0 ]; then
  "$PYTHON" tests/documents/run.py --programs "$programs" "${kinds[@]}" || fail "a command block for compose or Kubernetes"
  if [ -n "${IMAGES:-}" ]; then
    ok "command blocks for compose: run with containers"
    not_checked "the profile observe with containers: its images are in a registry"
  fi
  ok "command blocks for compose and Kubernetes: everything in them exists"
fi
not_checked "blocks of commands for Kubernetes in a cluster: there is none here"
