#!/usr/bin/env bash
# deploy/systemd on a separate Debian 12: runs the blocks of its README with the tag `sh test=systemd`, in order and as printed,
# under a real systemd with Debian's nats-server and redis-server, and between them the trials of systemd/trials.sh. Then it runs such blocks of
# docs/installing.md. The machine is a folder (debootstrap) in namespaces (systemd/machine.sh) with only a loopback network.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/lib/checks.sh
. ci/lib/debian.sh

RECIPE=deploy/systemd/README.md
work="$CHECKS/systemd"
base="$work/bookworm" root="$work/machine" group="imchannel-check-$$"
mkdir -p "$work"

# --- files that must agree with others ---------------------------------------------------------------------------------------

# Settings of a nats.conf without comments, and without those that differ on one machine with 2.9.
settings() { sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' -e '/^listen:\|^http:\|store_dir:\|sync_interval:/d' "$1"; }
diff <(settings deploy/nats/nats.conf) <(settings deploy/systemd/nats.conf) >&2 ||
  fail "deploy/systemd/nats.conf differs from deploy/nats/nats.conf in more than addresses, folder and sync"
ok "deploy/systemd/nats.conf: same as deploy/nats/nats.conf, except settings that 2.9 does not have"

# Memory of a service in docker-compose.yml, in MiB.
compose_memory() {
  awk -v name="  $1:" '$0 == name {inside = 1} inside && /mem_limit:/ {print; exit}' docker-compose.yml |
    grep -oE '[0-9]+m' | tr -d m
}
for pair in nats:nats redis:redis setup:setup ingress:ingress media:media timeline:timeline normalizer:normalizer@ sender:sender@; do
  unit="deploy/systemd/imchannel-${pair#*:}.service"
  grep -qx "MemoryMax=$(compose_memory "${pair%:*}")M" "$unit" || fail "MemoryMax of $unit differs from mem_limit of docker-compose.yml"
done
ok "units: same memory limits as docker-compose.yml"

# What erasing needs: the same settings as in docker-compose.yml, with their values here.
for setting in IMCHANNEL_TIMELINE_ERASURE IMCHANNEL_TIMELINE_ERASER_NKEY_FILE IMCHANNEL_REDIS_URL IMCHANNEL_REDIS_PASSWORD_FILE; do
  awk '/^  timeline:$/ {inside = 1; next} /^  [a-z]/ {inside = 0} inside' docker-compose.yml | grep -q "^ *$setting:" ||
    fail "the timeline of docker-compose.yml has no $setting"
  grep -q "^Environment=$setting=" deploy/systemd/imchannel-timeline.service.d/erasure.conf || fail "erasure.conf has no $setting"
done
ok "imchannel-timeline.service.d/erasure.conf: the settings of docker-compose.yml"

# --- the machine ----------------------------------------------------------------------------------------------------------------------

leave() { not_checked "deploy/systemd: $*"; exit 0; }
[ "$(uname)" = Linux ] || leave "this is not Linux"
[ "$(id -u)" = 0 ] || leave "starting a machine needs root"
[ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge 16384 ] || leave "this machine allows fewer than 16,384 open files"
need debootstrap debootstrap || leave "debootstrap could not be installed"
need ip iproute2 || leave "iproute2 could not be installed"
refusal=$(unshare --mount --uts --ipc --net --cgroup --pid --fork true 2>&1) || leave "the kernel allows no namespaces ($refusal)"
programs=$(newest_build)
[ -n "$programs" ] || fail "no programs in target/release or target/debug: cargo build --workspace --bins"

# The packages of the recipe are already installed: the machine has no network.
PACKAGES=systemd,systemd-sysv,dbus,ca-certificates,curl,procps,iproute2,nats-server,redis-server
if [ "$(cat "$base.packages" 2>/dev/null)" != "$PACKAGES" ]; then
  mirror=$(debian_mirror) || leave "this machine's apt sources have no Debian mirror"
  printf 'fetching a Debian 12\n' >&2
  rm -rf "$base"
  debootstrap --variant=minbase --include="$PACKAGES" bookworm "$base" "$mirror" >"$work/debootstrap.log" 2>&1 ||
    leave "no Debian 12 could be fetched: $(grep -m 1 '^E:' "$work/debootstrap.log")"
  printf '%s\n' "$PACKAGES" >"$base.packages"
fi
rm -rf "$root"
cp -a --reflink=auto "$base" "$root"
mkdir -p "$root/src/target/release"
cp "$programs"/imchannel "$programs"/imchannel-{ingress,normalizer,sender,media,timeline} "$root/src/target/release/"
cp -a docs deploy ci examples "$root/src/"

groups() { find /sys/fs/cgroup -maxdepth 2 -type d -name "$group"; }
make_groups() {
  local parent
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir "/sys/fs/cgroup/$group"
    return
  fi
  for parent in /sys/fs/cgroup/*; do
    if [ -L "$parent" ] || [ ! -e "$parent/cgroup.procs" ]; then continue; fi
    mkdir "$parent/$group"
    # A new group has no CPUs assigned.
    if [ -e "$parent/cpuset.cpus" ]; then
      cat "$parent/cpuset.cpus" >"$parent/$group/cpuset.cpus"
      cat "$parent/cpuset.mems" >"$parent/$group/cpuset.mems"
    fi
  done
}

launcher='' machine=''
off() {
  if [ -n "$machine" ]; then kill -9 "$machine" 2>/dev/null || true; fi
  if [ -n "$launcher" ]; then wait "$launcher" 2>/dev/null || true; fi
  local folder
  for folder in $(groups); do find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
}
trap 'off; rm -rf "$root"' EXIT

# Run in the machine, without the variables of this shell.
inside() { nsenter --target "$machine" --mount --uts --ipc --net --cgroup --pid -- env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"; }
is_up() {
  machine=$(pgrep -P "$launcher") && [ "$(cat "/proc/$machine/comm")" = systemd ] &&
    case "$(inside systemctl is-system-running 2>/dev/null)" in running|degraded) true ;; *) false ;; esac
}
on() {
  local tries=0
  unshare --mount --uts --ipc --net --pid --fork --kill-child ci/systemd/machine.sh "$root" "$group" >"$work/machine.log" 2>&1 &
  launcher=$!
  until is_up; do
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ] || ! kill -0 "$launcher" 2>/dev/null; then return 1; fi
    sleep 0.1
  done
}

# block FILE N: the file's Nth block with the tag, as printed.
block() { awk -v n="$2" '/^```sh test=systemd$/ {at++; inside = 1; next} /^```$/ {inside = 0} inside && at == n' "$1"; }
run() {
  local text
  text=$(block "$1" "$2")
  [ -n "$text" ] || fail "$1 has no block $2 with the tag test=systemd"
  printed=$(inside bash -euo pipefail -c "cd /src; $text" 2>&1) || fail "block $2 of $1: $(printf '%s\n%s' "$text" "$printed")"
}
trial() { inside bash -euo pipefail /src/ci/systemd/trials.sh "$@" || fail "$*"; }

make_groups || leave "control groups are not available"
on || leave "no systemd starts here: $(tail -n 3 "$work/machine.log")"

# --- the recipe -----------------------------------------------------------------------------------------------------------------------

[ "$(grep -c '^```sh test=systemd$' "$RECIPE")" = 11 ] || fail "$RECIPE does not have the blocks that this check runs"
run "$RECIPE" 1
run "$RECIPE" 2
trial own_values
run "$RECIPE" 3
trial ready
run "$RECIPE" 4
ok "the recipe: installed, set up, started, and doctor finds no fault"
run "$RECIPE" 5
case $printed in *'report FAILED message 742f868d-c9e9-4eda-b5c0-2747cb7ef773'*) ;; *) fail "the webhook did not come out: $printed" ;; esac
ok "a webhook posted as printed is an event"
run "$RECIPE" 6
run "$RECIPE" 7
trial ready 2
ok "a second normalizer and a second sender"
trial sends
trial keeps_secrets
trial spools 2
trial is_restarted
run "$RECIPE" 8
trial ready 2
trial erases
run "$RECIPE" 9
trial ready 2
ok "an upgrade as printed: every service is ready again"
run "$RECIPE" 10
while read -r line; do
  grep -qF "$line" "$RECIPE" || fail "$RECIPE does not have: $line"
  case $line in *': '[01].?*|*': '2.[0-4]*) ;; *) fail "exposure above 2.5: $line" ;; esac
done <<<"$printed"
[ "$(wc -l <<<"$printed")" = 8 ] || fail "systemd-analyze security: $printed"
ok "systemd-analyze security: as printed, under 2.5"
trial verifies
trial speaks_https
trial stops_without_loss
trial before_reboot
inside systemctl poweroff --force >/dev/null 2>&1 || true
wait "$launcher" || true
on || fail "the machine does not reboot"
trial after_reboot
trial names_faults
run "$RECIPE" 11
trial is_removed

# --- without systemd's units ------------------------------------------------------------------------------------------------------------

[ "$(grep -c '^```sh test=systemd$' docs/installing.md)" = 1 ] || fail "docs/installing.md does not have the block that this check runs"
run docs/installing.md 1
case $printed in *'report FAILED message 742f868d-c9e9-4eda-b5c0-2747cb7ef773'*) ;; *) fail "docs/installing.md: the webhook did not come out: $printed" ;; esac
ok "plain processes as in docs/installing.md"
