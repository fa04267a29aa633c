#!/usr/bin/env bash
# Prints the Secrets that an installation needs, and the ConfigMap of public keys, from a folder that
# `imchannel secrets generate` has made and a channels file. It contacts no cluster; apply its output:
#   deploy/kubernetes/secrets.sh FOLDER channels.toml | kubectl apply -f -
# Every workload has one Secret with exactly what it uses. If your secrets come from a vault, use these names and keys.
set -euo pipefail
if [ $# -lt 2 ] || [ $# -gt 3 ]; then
  printf 'usage: %s FOLDER CHANNELS_FILE [NAMESPACE]\n' "$0" >&2
  exit 2
fi
from=$1 channels=$2 namespace=${3:-imchannel}

# secret NAME KEY=FILE…
secret() {
  local name=$1 pair arguments=()
  shift
  for pair in "$@"; do
    [ -r "${pair#*=}" ] || { printf '%s: cannot read %s\n' "$0" "${pair#*=}" >&2; exit 1; }
    arguments+=("--from-file=$pair")
  done
  object secret generic "$name" "${arguments[@]}"
}

object() {
  printf -- '---\n'
  kubectl create "$@" --namespace "$namespace" --dry-run=client --output=yaml
}

secret ingress-secrets credential.key="$from/credential.key" nats.nk="$from/nats/ingress.nk"
secret normalizer-secrets nats.nk="$from/nats/normalizer.nk"
secret sender-secrets nats.nk="$from/nats/sender.nk" redis.password="$from/redis/sender.password"
secret media-secrets nats.nk="$from/nats/media.nk" redis.password="$from/redis/media.password" \
  media.token="$from/media.token"
secret timeline-secrets nats.nk="$from/nats/timeline.nk" timeline.tokens="$from/timeline.tokens"
# Only components/timeline-erasure reads this one.
secret timeline-eraser eraser.nk="$from/nats/eraser.nk" eraser.password="$from/redis/eraser.password"
# Only components/timeline-postgres reads this one: the database, and the key of the ids that all its timelines have.
if [ -f "$from/timeline.url" ]; then
  secret timeline-postgres timeline.url="$from/timeline.url" timeline.key="$from/timeline.key"
fi
secret setup-secrets nats.nk="$from/nats/provisioner.nk" redis.password="$from/redis/provisioner.password" \
  credential.key="$from/credential.key" channels.toml="$channels"
secret doctor-secrets nats.nk="$from/nats/operator.nk" redis.password="$from/redis/operator.password"
# Only the Redis of the overlay `dev` reads this one. Configure these users in a managed Redis with its own tools.
secret redis-secrets users.acl="$from/redis/users.acl"

# The secrets that channels name as `file:NAME`: auth tokens of Twilio, by their name, for ingress; API keys for sender.
for_ingress=() for_sender=()
for file in "$from"/channels/*; do
  [ -f "$file" ] || continue
  case "${file##*/}" in
    twilio*) for_ingress+=("${file##*/}=$file") ;;
    *) for_sender+=("${file##*/}=$file") ;;
  esac
done
secret sender-channel-secrets ${for_sender[@]+"${for_sender[@]}"}
if [ ${#for_ingress[@]} -gt 0 ]; then secret ingress-channel-secrets "${for_ingress[@]}"; fi

# Upload tokens of single tenants, by tenant name. They may be missing.
of_tenants=()
for file in "$from"/media-tokens/*; do
  [ -f "$file" ] || continue
  of_tenants+=("${file##*/}=$file")
done
if [ ${#of_tenants[@]} -gt 0 ]; then secret media-upload-tokens "${of_tenants[@]}"; fi

# Public keys are no secret.
[ -r "$from/nats/users.env" ] || { printf '%s: cannot read %s\n' "$0" "$from/nats/users.env" >&2; exit 1; }
object configmap nats-nkeys --from-env-file="$from/nats/users.env"
