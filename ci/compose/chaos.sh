#!/usr/bin/env bash
# Chaos over the compose installation, with containers: while KooMessage, Gupshup and Twilio post 300 reports a second, NATS and ingress are
# killed, paused and disconnected, and ingress is scaled to 2 and back to 1. Every report that was answered 200 must have exactly one event id.
#   ci/compose/chaos.sh                 (three minutes)
#   ci/compose/chaos.sh --report FILE   (`./dev chaos`) writes a report in Markdown
# It needs a container engine, and no registry: ci/compose/images.sh makes the images from the newest build, or from the folder PROGRAMS.
set -euo pipefail
cd "$(dirname "$0")/../.."
. ci/lib/checks.sh
. ci/lib/debian.sh

need python3 python3 || fail "this check needs python3"
docker info >/dev/null 2>&1 || { not_checked "chaos over the compose installation: there is no container engine here"; exit 0; }
find_compose || { not_checked "chaos over the compose installation: there is no docker compose 2.24 or later here, and none could be fetched"; exit 0; }
# The caller's settings belong to another installation.
for name in $(compgen -e); do
  case $name in IMCHANNEL_*|OTEL_*|COMPOSE_*|*_IMAGE) unset "$name" ;; esac
done
images=$(ci/compose/images.sh) || fail "the images could not be made"
while IFS='=' read -r name value; do export "$name=$value"; done <<<"$images"
export COMPOSE_PROJECT_NAME="imchannel-chaos-$$" COMPOSE_ENV_FILES=/dev/null

clean() {
  "${compose[@]}" --profile '*' down --volumes --remove-orphans --timeout 2 >/dev/null 2>&1 || true
  docker images --format '{{.Repository}}:{{.Tag}}' | grep ":$IMCHANNEL_VERSION\$" | xargs docker image rm >/dev/null
}
trap clean EXIT
python3 -B -u ci/compose/chaos.py "$@" -- "${compose[@]}" || fail "chaos over the compose installation"
ok "chaos over the compose installation: nothing that was answered 200 is lost"
