#!/usr/bin/env bash
# Renders deploy/kubernetes and checks it: strict schemas, and references between objects. It contacts no
# cluster. With --write it first writes the PrometheusRule from deploy/prometheus/alerts.yml.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/lib/checks.sh
. ci/lib/debian.sh
python_for_checks
write=()
[ "${1:-}" != --write ] || write=(--write)

find_kubectl || fail "there is no kubectl, and Debian's could not be fetched or does not run here"
for file in deploy/nats/nats.conf deploy/nats/users.conf deploy/redis/redis.conf; do
  [ -f "$file" ] || fail "$file is missing, and the manifests contain it"
done

"$PYTHON" ci/kubernetes/check.py rules ${write[@]+"${write[@]}"}

# Render. "everything" is production with every component enabled.
out="$CHECKS/kubernetes"
rm -rf "$out"
mkdir -p "$out/deploy"
cp -R deploy/kubernetes deploy/nats deploy/redis "$out/deploy/"
everything="$out/deploy/kubernetes/overlays/everything"
mv "$out/deploy/kubernetes/overlays/production" "$everything"
sed -i.was -E 's|^  # - (\.\./\.\./components/[a-z-]+).*|  - \1|' "$everything/kustomization.yaml"
for component in deploy/kubernetes/components/*/; do
  grep -qF -- "- ../../components/$(basename "$component")" "$everything/kustomization.yaml" ||
    fail "the overlay production does not name the component $(basename "$component")"
done
render() { kubectl kustomize "$1" >"$out/$2.yaml" || fail "kustomize cannot build $1"; }
render deploy/kubernetes/namespace namespace
render deploy/kubernetes/base base
render deploy/kubernetes/overlays/dev dev
render deploy/kubernetes/overlays/production production
render "$everything" everything
ok "kustomize ($(kubectl version --client 2>/dev/null | sed -n 's/^Kustomize Version: //p'))"

# The Secrets from a folder with the layout of `imchannel secrets generate`. The content does not matter here.
secrets="$out/secrets"
mkdir -p "$secrets/nats" "$secrets/redis" "$secrets/channels"
for file in credential.key media.token timeline.tokens timeline.url timeline.key channels/infobip_api_key channels/twilio_token redis/users.acl \
  redis/{media,sender,eraser,provisioner,operator}.password nats/{ingress,normalizer,sender,media,timeline,eraser,aicc,provisioner,operator}.nk; do
  printf 'not a secret\n' >"$secrets/$file"
done
printf 'NATS_%s_NKEY=U\n' INGRESS NORMALIZER SENDER MEDIA TIMELINE ERASER AICC PROVISIONER OPERATOR >"$secrets/nats/users.env"
if [ -d deploy/compose/example ]; then
  while IFS= read -r file; do
    [ -f "deploy/compose/example/$file" ] || fail "secrets.sh and deploy/compose/example differ about $file"
  done < <(cd "$secrets" && find . -type f ! -name twilio_token ! -name timeline.url ! -name timeline.key)
fi
deploy/kubernetes/secrets.sh "$secrets" examples/channels.toml >"$out/secrets.yaml" || fail "deploy/kubernetes/secrets.sh"

"$PYTHON" ci/kubernetes/check.py manifests "$out"

# The configuration that the chart would make, for a server with `sync_interval: always` (2.10). Its folders are replaced by ours.
"$PYTHON" ci/kubernetes/check.py nats "$out"
if folder=$(debian_newer trixie nats-server); then
  server="$folder/usr/sbin/nats-server"
  need openssl openssl || fail "the checks need openssl"
  takes() (
    set -a
    # shellcheck disable=SC1091  # it has just been written
    . "$out/nats.env"
    POD_NAME=nats-0 exec "$server" -t -c "$1"
  )
  mkdir -p "$out/etc/nats-config" "$out/etc/nats-files" "$out/etc/nats-certs/nats" "$out/data"
  cp deploy/nats/users.conf "$out/etc/nats-files/"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=nats \
    -keyout "$out/etc/nats-certs/nats/tls.key" -out "$out/etc/nats-certs/nats/tls.crt" 2>/dev/null
  cp "$out/etc/nats-certs/nats/tls.crt" "$out/etc/nats-certs/nats/ca.crt"
  cp -R "$out/etc/nats-certs/nats" "$out/etc/nats-certs/cluster"
  for name in values values-tls; do
    sed -e "s|\"/data|\"$out/data|" -e "s|\"/etc/nats-certs|\"$out/etc/nats-certs|" "$out/nats-$name.conf" \
      >"$out/etc/nats-config/nats.conf"
    takes "$out/etc/nats-config/nats.conf" >"$out/nats-$name.log" 2>&1 ||
      fail "nats-server refuses the configuration from $name.yaml: $(tail -n 1 "$out/nats-$name.log")"
  done
  # Prove that the server refuses a wrong file.
  sed -i.was '1s/{/{ "no_such_setting": 1,/' "$out/etc/nats-config/nats.conf"
  if takes "$out/etc/nats-config/nats.conf" >"$out/nats-wrong.log" 2>&1; then fail "nats-server accepts a setting that does not exist"; fi
  ok "the chart's nats.conf, with and without TLS, and users.conf ($("$server" --version))"
else
  not_checked "the chart's nats.conf: Debian's newer nats-server could not be fetched"
fi
not_checked "the NATS chart itself: helm and the chart are not here. Read the output of \`helm template\` before you install it"
not_checked "Kubernetes: no cluster. Admission, scheduling, how a network plugin enforces the policies, ingress controller, KEDA"
