# Unpacks newer Debian packages beside the system, for checks that need a newer program than the machine has.
# It installs nothing and does not need root. Source it after checks.sh.
#
#   suite   package          program in the folder                                version when this was written
#   sid     docker-compose   usr/libexec/docker/cli-plugins/docker-compose        2.40.3 (trixie: 2.26.1)
#   sid     kubectl          usr/bin/kubectl (kubernetes-client holds nothing)    1.36.4 (trixie: 1.32.3)
#   sid     promtool         usr/bin/promtool (no longer in package prometheus)   3.5.3
#   trixie  nats-server      usr/sbin/nats-server                                 2.10.27 (sid: 2.15.1)
# These run on Debian 12. A program that needs a newer C library does not run.
# shellcheck shell=bash

# debian_newer SUITE PACKAGE: unpacks SUITE's version of PACKAGE into target/check/debian/SUITE/PACKAGE and prints that folder.
# SUITE is a name such as trixie or sid. An unpacked package is kept; remove the folder to fetch it again. A check may use a program
# while another check fetches the same package of another suite.
# If it cannot, it prints why on standard error and returns 1: the caller then prints what it did NOT CHECK.
debian_newer() {
  local suite=$1 package=$2 home="$CHECKS/debian/$1"
  local folder="$home/$package" log="$home/$package.log"
  mkdir -p "$home"
  (
    # Two checks may need the same package at the same time.
    if command -v flock >/dev/null; then flock 9; fi
    if [ -d "$folder" ]; then exit 0; fi
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
      printf 'debian_newer: this is not a Debian system (no apt-get)\n' >&2
      exit 1
    fi
    if ! debian_fetch "$suite" "$package" "$home" >"$log" 2>&1; then
      printf 'debian_newer: %s of Debian %s could not be fetched: %s\n' "$package" "$suite" \
        "$(grep -E '^(E|W|debian):' "$log" | head -n 1)" >&2
      exit 1
    fi
  ) 9>"$home/.lock" || return 1
  printf '%s\n' "$folder"
}

# debian_program SUITE PACKAGE PATH LIBRARY_PACKAGE…: prints a script that runs the program at PATH in PACKAGE with the C library
# and the other libraries of SUITE, for a program that needs newer ones than the machine has.
debian_program() {
  local suite=$1 package=$2 path=$3 script libraries='' folder loader=''
  script="$CHECKS/debian/$suite/$2.run"
  for package in "$2" libc6 "${@:4}"; do
    folder=$(debian_newer "$suite" "$package") || return 1
    libraries+="${libraries:+:}$(find "$folder" -type d -path '*/lib/*-linux-gnu*' -prune -printf '%p:' | sed 's/:$//')"
    if [ "$package" = libc6 ]; then loader=$(find "$folder" -name 'ld-linux*.so.*' | head -n 1); fi
  done
  [ -n "$loader" ] || { printf 'debian_program: no loader in libc6\n' >&2; return 1; }
  printf '#!/bin/sh\nexec %s --library-path %s --argv0 %s %s "$@"\n' \
    "$loader" "$libraries" "$(basename "$path")" "$CHECKS/debian/$suite/$2/$path" >"$script"
  chmod +x "$script"
  printf '%s\n' "$script"
}

# A separate apt: its lists, cache and (empty) record of installed packages are under target/check.
# It uses the machine's settings (such as a proxy) but not its hooks, which may need root.
debian_fetch() {
  local suite=$1 package=$2 home=$3 mirror keyring root
  mirror=$(debian_mirror) || { echo "debian: the apt sources of this machine name no Debian mirror"; return 1; }
  keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [ -r "$keyring" ] || { echo "debian: no $keyring (package debian-archive-keyring)"; return 1; }
  root="$home/.apt"
  mkdir -p "$root/lists/partial" "$root/cache/archives/partial" "$root/parts"
  : >"$root/status"
  printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite" >"$root/sources.list"
  cat >"$root/apt.conf" <<CONF
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
Dir::Etc::sourcelist "$root/sources.list";
Dir::Etc::sourceparts "$root/parts";
Dir::Etc::preferencesparts "$root/parts";
Dir::Etc::preferences "/dev/null";
Dir::State "$root";
Dir::State::lists "$root/lists";
Dir::State::status "$root/status";
Dir::Cache "$root/cache";
APT::Sandbox::User "root";
APT::Get::List-Cleanup "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "3";
CONF
  # Updating the lists once an hour is enough.
  if [ -z "$(find "$root/updated" -mmin -60 2>/dev/null)" ]; then
    apt-get -c "$root/apt.conf" -q update --error-on=any || return 1
    touch "$root/updated"
  fi
  (cd "$root" && rm -f ./*.deb && apt-get -c "$root/apt.conf" -q download "$package") || return 1
  # The folder has its name only when it is complete.
  rm -rf "${home:?}/$package.part"
  dpkg-deb -x "$root"/*.deb "$home/$package.part" || return 1
  rm -f "$root"/*.deb
  mv "$home/$package.part" "$home/$package"
}

# The mirror that this machine's apt uses for Debian. Before the first `apt-get update` apt does not have the
# origin of a source yet, so it is found by the address.
debian_mirror() {
  # shellcheck disable=SC2016  # these are apt's variables
  apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk -F'|' '$1 == "Debian" && $2 == "Debian" { print $3; found = 1; exit }
               $1 == "" && $3 ~ /\/debian\/?$/ && !guess { guess = $3 }
               END { if (!found && guess) { print guess; found = 1 } exit !found }'
}

# find_kubectl: puts a kubectl with kustomize into the PATH (1.21 and later; newer fields such as preStop sleep do not matter to it).
find_kubectl() {
  local folder
  if has kubectl && kubectl kustomize --help >/dev/null 2>&1; then return 0; fi
  folder=$(debian_newer sid kubectl) || return 1
  export PATH="$PWD/$folder/usr/bin:$folder/usr/bin:$PATH"
  kubectl version --client >/dev/null 2>&1
}

# find_compose: sets `compose` to this machine's plugin if it is new enough for the file, otherwise to Debian's.
find_compose() {
  local folder
  compose=(docker compose)
  if is_new_enough; then return 0; fi
  folder=$(debian_newer sid docker-compose) || return 1
  compose=("$folder/usr/libexec/docker/cli-plugins/docker-compose")
  is_new_enough
}

# 2.24 and later merge lists of `<<` and files of secrets as needed.
is_new_enough() {
  version=$("${compose[@]}" version --short 2>/dev/null) || return 1
  version=${version#v}
  [ "$(printf '%s\n2.24.0\n' "$version" | sort -V | head -n 1)" = 2.24.0 ]
}
