#!/usr/bin/env bash
# Drills alerts with docs/runbook.md: real faults, the real rules in a real Prometheus, the runbook's commands in order, until the
# alert ends. It takes nine minutes; ci/drills has one file for each fault.
#   ci/drills.sh                     the drills of `./dev check-deploy`, which observability.sh runs
#   ci/drills.sh --all               also the longer ones (13 minutes)
#   ci/drills.sh --only nats_killed  one fault
#   ci/drills.sh --all --report FILE (`./dev drill`) writes a report in Markdown
#   IMCHANNEL=target/debug/imchannel ci/drills.sh     use the programs beside this one, not the newest build
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/lib/checks.sh

for what in prometheus nats-server redis-server faketime; do
  need "$what" "$what" || { not_checked "the drills of alerts: $what cannot be installed on this machine"; exit 0; }
done
python_for_checks
build=$(dirname "${IMCHANNEL:-"$(newest_build)/imchannel"}")
for program in imchannel imchannel-ingress imchannel-normalizer imchannel-sender imchannel-media imchannel-timeline; do
  [ -x "$build/$program" ] || fail "no $program in ${build:-target}: cargo build --workspace --bins"
done

folder=$(mktemp -d "${TMPDIR:-/tmp}/imchannel-drills.XXXXXX")
# shellcheck disable=SC2064  # expand now
trap "rm -rf '$folder'" EXIT
# The caller's settings belong to another installation.
for name in $(compgen -e); do case $name in IMCHANNEL|PYTHON) ;; IMCHANNEL_*|OTEL_*) unset "$name" ;; esac done
mkdir "$folder/programs" "$folder/data"
# Copies: a build may replace the files while they run.
cp "$build"/imchannel{,-ingress,-normalizer,-sender,-media,-timeline} "$folder/programs/"
PATH="$PATH:/usr/sbin" "$PYTHON" ci/drills/run.py "$folder/programs" "$(path_of prometheus)" "$folder/data" "$@"
