#!/usr/bin/env bash
# Prometheus rules, Grafana dashboards and the runbook: they are valid, consistent, and query series that a real run has.
#   ci/observability.sh
#   ci/observability.sh --write    write docs/metrics.md
#   IMCHANNEL=target/debug/imchannel ci/observability.sh     another build than the newest one
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/lib/checks.sh
. ci/lib/debian.sh

# The package contains promtool too. No service is started.
need prometheus prometheus || { not_checked "rules and dashboards: Prometheus cannot be installed on this machine"; exit 0; }
promtool=$(path_of promtool)
version=$("$promtool" --version 2>&1 | sed -n 's/^promtool, version \([^ ]*\).*/\1/p')

quietly() { "$@" >"$CHECKS/promtool.log" 2>&1 || { cat "$CHECKS/promtool.log" >&2; return 1; }; }
mkdir -p "$CHECKS"
quietly "$promtool" check config deploy/prometheus/prometheus.yml || fail "deploy/prometheus/prometheus.yml"
quietly "$promtool" check rules deploy/prometheus/alerts.yml || fail "deploy/prometheus/alerts.yml"
ok "configuration and rules (promtool $version)"
quietly "$promtool" test rules deploy/prometheus/alerts_test.yml || fail "deploy/prometheus/alerts_test.yml"
ok "$(grep -c '^ *name: \|^  - name: ' deploy/prometheus/alerts_test.yml) tests of the rules (promtool $version)"
# Prometheus 3 parses some expressions differently; an installation may have either version.
if folder=$(debian_newer sid promtool); then
  quietly "$folder/usr/bin/promtool" test rules deploy/prometheus/alerts_test.yml || fail "alerts_test.yml with Prometheus 3"
  ok "the same tests ($("$folder/usr/bin/promtool" --version 2>&1 | sed -n 's/^\(promtool\), version \([^ ]*\).*/\1 \2/p'))"
else
  not_checked "the rules with Prometheus 3: its promtool could not be fetched"
fi

python_for_checks
"$PYTHON" deploy/grafana/generate.py --check || fail "run deploy/grafana/generate.py"
ok "the dashboards are up to date with deploy/grafana/generate.py"

program=${IMCHANNEL:-"$(newest_build)/imchannel"}
[ -x "$program" ] || fail "no imchannel in target/release or target/debug: cargo build --release --bin imchannel"
for server in nats-server redis-server; do need "$server" "$server" || fail "the run needs $server"; done
"$PYTHON" ci/observability/files.py "$program"

folder=$(mktemp -d "${TMPDIR:-/tmp}/imchannel-observability.XXXXXX")
# shellcheck disable=SC2064  # expand now
trap "rm -rf '$folder'" EXIT
# The caller's settings belong to another installation.
for name in $(compgen -e); do case $name in IMCHANNEL_*|OTEL_*) unset "$name" ;; esac; done
# A copy: a build may replace the file while it runs.
cp "$program" "$folder/imchannel"
"$PYTHON" ci/observability/running.py "$folder/imchannel" "$(path_of prometheus)" "$folder" "$@"

IMCHANNEL="$program" ci/drills.sh

not_checked "how Grafana shows the dashboards: no Grafana here; their queries and layout were checked"
not_checked "deploy/otel/collector.yml: no collector here"
