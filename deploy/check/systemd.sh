#!/usr/bin/env bash
# deploy/systemd on a Debian 12 of its own: the blocks of its README with the tag `sh test=systemd`, in order and as they are printed,
# under a real systemd with Debian's nats-server and redis-server; between them the trials of systemd_trials.sh. Then the block of
# docs/installing.md with that tag. The machine is a folder (debootstrap) in namespaces (machine.sh) and has no network but its loopback device.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/check/lib.sh
. deploy/check/debian.sh

RECIPE=deploy/systemd/README.md
work="$CHECKS/systemd"
base="$work/bookworm" root="$work/machine" group="imchannel-check-$$"
mkdir -p "$work"

# --- files that are to say the same as others ---------------------------------------------------------------------------------------

# Settings of a nats.conf without comments, and without those in which one machine with 2.9 differs.
settings() { sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' -e '/^listen:\|^http:\|store_dir:\|sync_interval:/d' "$1"; }
diff <(settings deploy/nats/nats.conf) <(settings deploy/systemd/nats.conf) >&2 ||
  fail "deploy/systemd/nats.conf differs from deploy/nats/nats.conf by more than addresses, folder and sync"
ok "deploy/systemd/nats.conf: as deploy/nats/nats.conf, without what 2.9 does not know"

# Memory of a service in docker-compose.yml, in MiB.
compose_memory() {
  awk -v name="  $1:" '$0 == name {inside = 1} inside && /mem_limit:/ {print; exit}' docker-compose.yml |
    grep -oE '[0-9]+m' | tr -d m
}
for pair in nats:nats redis:redis setup:setup ingress:ingress media:media normalizer:normalizer@ sender:sender@; do
  unit="deploy/systemd/imchannel-${pair#*:}.service"
  grep -qx "MemoryMax=$(compose_memory "${pair%:*}")M" "$unit" || fail "MemoryMax of $unit is not mem_limit of docker-compose.yml"
done
ok "units: the memory of docker-compose.yml"

# --- the machine ----------------------------------------------------------------------------------------------------------------------

leave() { not_checked "deploy/systemd: $*"; exit 0; }
[ "$(uname)" = Linux ] || leave "there is no Linux"
[ "$(id -u)" = 0 ] || leave "a machine of its own needs root"
[ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge 16384 ] || leave "this machine allows fewer than 16,384 open files"
need debootstrap debootstrap || leave "debootstrap could not be installed"
need ip iproute2 || leave "iproute2 could not be installed"
refusal=$(unshare --mount --uts --ipc --net --cgroup --pid --fork true 2>&1) || leave "the kernel gives no namespaces ($refusal)"
programs=$(newest_build)
[ -n "$programs" ] || fail "no programs in target/release or target/debug: cargo build --workspace --bins"

# What the recipe installs is there already: the machine has no network.
PACKAGES=systemd,systemd-sysv,dbus,ca-certificates,curl,procps,iproute2,nats-server,redis-server
if [ "$(cat "$base.packages" 2>/dev/null)" != "$PACKAGES" ]; then
  mirror=$(debian_mirror) || leave "the apt sources of this machine name no Debian mirror"
  printf 'fetching a Debian 12\n' >&2
  rm -rf "$base"
  debootstrap --variant=minbase --include="$PACKAGES" bookworm "$base" "$mirror" >"$work/debootstrap.log" 2>&1 ||
    leave "no Debian 12 could be fetched: $(grep -m 1 '^E:' "$work/debootstrap.log")"
  printf '%s\n' "$PACKAGES" >"$base.packages"
fi
rm -rf "$root"
cp -a --reflink=auto "$base" "$root"
mkdir -p "$root/src/target/release"
cp "$programs"/imchannel "$programs"/imchannel-{ingress,normalizer,sender,media} "$root/src/target/release/"
cp -a docs deploy examples "$root/src/"

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
    # A new group has no processors of its own.
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

# In the machine, with no variable of this one.
inside() { nsenter --target "$machine" --mount --uts --ipc --net --cgroup --pid -- env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"; }
is_up() {
  machine=$(pgrep -P "$launcher") && [ "$(cat "/proc/$machine/comm")" = systemd ] &&
    case "$(inside systemctl is-system-running 2>/dev/null)" in running|degraded) true ;; *) false ;; esac
}
on() {
  local tries=0
  unshare --mount --uts --ipc --net --pid --fork --kill-child deploy/check/machine.sh "$root" "$group" >"$work/machine.log" 2>&1 &
  launcher=$!
  until is_up; do
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ] || ! kill -0 "$launcher" 2>/dev/null; then return 1; fi
    sleep 0.1
  done
}

# block FILE N: the Nth block of the file with the tag, as it is printed.
block() { awk -v n="$2" '/^```sh test=systemd$/ {at++; inside = 1; next} /^```$/ {inside = 0} inside && at == n' "$1"; }
run() {
  local text
  text=$(block "$1" "$2")
  [ -n "$text" ] || fail "$1 has no block $2 with the tag test=systemd"
  printed=$(inside bash -euo pipefail -c "cd /src; $text" 2>&1) || fail "block $2 of $1: $(printf '%s\n%s' "$text" "$printed")"
}
trial() { inside bash -euo pipefail /src/deploy/check/systemd_trials.sh "$@" || fail "$*"; }

make_groups || leave "there are no control groups to be had"
on || leave "no systemd starts here: $(tail -n 3 "$work/machine.log")"

# --- the recipe -----------------------------------------------------------------------------------------------------------------------

[ "$(grep -c '^```sh test=systemd$' "$RECIPE")" = 10 ] || fail "$RECIPE has other blocks than this check runs"
run "$RECIPE" 1
run "$RECIPE" 2
trial own_values
run "$RECIPE" 3
trial ready
run "$RECIPE" 4
ok "the recipe: installed, set up, started, and doctor finds nothing wrong"
run "$RECIPE" 5
case $printed in *'report FAILED message 742f868d-c9e9-4eda-b5c0-2747cb7ef773'*) ;; *) fail "the webhook did not come out: $printed" ;; esac
ok "a webhook posted as printed is an event"
run "$RECIPE" 6
run "$RECIPE" 7
trial ready 2
ok "a second normalizer and a second sender"
trial sends
trial keeps_secrets
trial is_restarted
run "$RECIPE" 8
trial ready 2
ok "an upgrade as printed: every service is ready again"
run "$RECIPE" 9
while read -r line; do
  grep -qF "$line" "$RECIPE" || fail "$RECIPE does not have: $line"
  case $line in *': '[01].?*|*': '2.[0-4]*) ;; *) fail "more exposed than 2.5: $line" ;; esac
done <<<"$printed"
[ "$(wc -l <<<"$printed")" = 7 ] || fail "systemd-analyze security: $printed"
ok "systemd-analyze security: as printed, under 2.5"
trial verifies
trial speaks_https
trial stops_without_loss
trial before_reboot
inside systemctl poweroff --force >/dev/null 2>&1 || true
wait "$launcher" || true
on || fail "the machine does not start again"
trial after_reboot
trial names_faults
run "$RECIPE" 10
trial is_removed

# --- without systemd's units ------------------------------------------------------------------------------------------------------------

[ "$(grep -c '^```sh test=systemd$' docs/installing.md)" = 1 ] || fail "docs/installing.md has other blocks than this check runs"
run docs/installing.md 1
case $printed in *'report FAILED message 742f868d-c9e9-4eda-b5c0-2747cb7ef773'*) ;; *) fail "docs/installing.md: the webhook did not come out: $printed" ;; esac
ok "plain processes as docs/installing.md prints them"
