#!/usr/bin/env bash
# Makes every image that docker-compose.yml starts without the profile `observe`, from this machine's programs and Debian's packages, for a
# machine whose container engine reaches no registry: our images from the newest build, the servers' with a busybox for their health checks.
# Prints the variables that name them. The caller removes them from the engine.
set -euo pipefail
cd "$(dirname "$0")/../.."
. ci/lib/checks.sh
. ci/lib/debian.sh

TAG=documents-$$
programs=${PROGRAMS:-$(newest_build)}
[ -n "$programs" ] || fail "there are no programs: cargo build --workspace --bins"
need haproxy haproxy || fail "there is no haproxy, and it could not be installed"
need redis-server redis-server || fail "there is no redis-server, and it could not be installed"
busybox=$(debian_newer trixie busybox-static)/usr/bin/busybox
nats=$(debian_newer trixie nats-server)
# `sync_interval: always` needs 2.10.
server="$nats/usr/sbin/nats-server"
[ -x "$server" ] || server="$nats/usr/bin/nats-server"

# image NAME ENTRYPOINT PROGRAM…: an image with the programs in /usr/bin and their libraries.
image() {
  local name=$1 entrypoint=$2 folder program library
  shift 2
  folder=$(mktemp -d "$CHECKS/image.XXXXXX")
  mkdir -p "$folder/usr/bin" "$folder/etc/ssl/certs" "$folder/tmp" "$folder/data"
  # A new volume has the mode of the folder where it is mounted, and the servers do not run as root.
  chmod 1777 "$folder/tmp" "$folder/data"
  for program in "$@"; do
    install -m 755 "$program" "$folder/usr/bin/"
    strip "$folder/usr/bin/$(basename "$program")" 2>/dev/null || true
    # A static program has none.
    { ldd "$program" 2>/dev/null | grep -o '/[^ ]*' || true; } | while IFS= read -r library; do
      [ -e "$folder$library" ] || { mkdir -p "$folder$(dirname "$library")"; cp -L "$library" "$folder$library"; }
    done
  done
  [ ! -f /etc/ssl/certs/ca-certificates.crt ] || cp -L /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/"
  if [ -x "$folder/usr/bin/busybox" ]; then
    ln -s busybox "$folder/usr/bin/wget"
    ln -s busybox "$folder/usr/bin/chown"
  fi
  tar -C "$folder" -c . | docker import --change "ENV PATH=/usr/bin" ${entrypoint:+--change "ENTRYPOINT [\"$entrypoint\"]"} - "$name" >/dev/null
  rm -rf "$folder"
}

mkdir -p "$CHECKS"
for service in ingress normalizer sender media timeline; do
  image "imchannel/$service:$TAG" "/usr/bin/imchannel-$service" "$programs/imchannel-$service"
done
image "imchannel/cli:$TAG" /usr/bin/imchannel "$programs/imchannel"
image "imchannel-documents/nats:$TAG" '' "$server" "$busybox"
image "imchannel-documents/redis:$TAG" '' "$(path_of redis-server)" "$(path_of redis-cli)" "$busybox"
image "imchannel-documents/haproxy:$TAG" '' "$(path_of haproxy)" "$busybox"
printf 'IMCHANNEL_VERSION=%s\n' "$TAG"
for server in nats redis haproxy; do printf '%s_IMAGE=imchannel-documents/%s:%s\n' "${server^^}" "$server" "$TAG"; done
