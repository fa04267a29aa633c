#!/usr/bin/env bash
# Drills alerts by docs/runbook.md: real faults, the real rules in a real Prometheus, the runbook's commands in its order, until the
# alert ends. Eight minutes; deploy/check/drills has one file for each fault.
#   deploy/check/drills.sh                     what `./dev check-deploy` runs, by observability.sh
#   deploy/check/drills.sh --all               those too that take longer (12 minutes)
#   deploy/check/drills.sh --only nats_killed  one fault
#   deploy/check/drills.sh --all --report FILE (`./dev drill`) writes what was done, as Markdown
#   IMCHANNEL=target/debug/imchannel deploy/check/drills.sh     the programs beside this one, and not the newest build
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/check/lib.sh

for what in prometheus nats-server redis-server faketime; do
  need "$what" "$what" || { not_checked "the drills of alerts: $what cannot be had on this machine"; exit 0; }
done
python_for_checks
build=$(dirname "${IMCHANNEL:-"$(newest_build)/imchannel"}")
for program in imchannel imchannel-ingress imchannel-normalizer imchannel-sender imchannel-media; do
  [ -x "$build/$program" ] || fail "no $program in ${build:-target}: cargo build --workspace --bins"
done

folder=$(mktemp -d "${TMPDIR:-/tmp}/imchannel-drills.XXXXXX")
# shellcheck disable=SC2064  # the folder of this moment
trap "rm -rf '$folder'" EXIT
# The settings of whoever calls this belong to another installation.
for name in $(compgen -e); do case $name in IMCHANNEL|PYTHON) ;; IMCHANNEL_*|OTEL_*) unset "$name" ;; esac done
mkdir "$folder/programs" "$folder/data"
# Copies: a build may replace the files while they run.
cp "$build"/imchannel{,-ingress,-normalizer,-sender,-media} "$folder/programs/"
PATH="$PATH:/usr/sbin" "$PYTHON" deploy/check/drills/run.py "$folder/programs" "$(path_of prometheus)" "$folder/data" "$@"
