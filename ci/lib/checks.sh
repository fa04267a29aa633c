# Functions of the checks. A script sources it after changing to the repository's root:
#   set -euo pipefail; cd "$(dirname "$0")/.."; . ci/lib/checks.sh
# shellcheck shell=bash

# One line per check. Checks that this machine cannot run are listed too, because silence would look like success.
ok() { printf 'ok   %s\n' "$*"; }
not_checked() { printf 'NOT CHECKED: %s\n' "$*"; }
fail() { printf 'FAIL %s\n' "$*" >&2; exit 1; }

# The folder for downloads and builds of the checks. Everything in it can be deleted.
CHECKS="$PWD/target/check"

. scripts/install.sh

# need COMMAND PACKAGE: installs the package if the command is missing, by the rules of scripts/install.sh.
# Returns non-zero if it cannot, so that the caller prints what it did not check.
need() {
  if has "$1"; then return 0; fi
  install_packages "$2" && has "$1"
}

# newest_build: the folder of the programs that were built last, target/release or target/debug; nothing if there is no build.
newest_build() {
  local found='' folder
  for folder in target/release target/debug; do
    if [ -x "$folder/imchannel" ] && { [ -z "$found" ] || [ "$folder/imchannel" -nt "$found/imchannel" ]; }; then found=$folder; fi
  done
  printf '%s' "$found"
}

# Servers are in /usr/sbin, which is not in every user's PATH.
path_of() { command -v "$1" || printf '/usr/sbin/%s\n' "$1"; }

# python_for_checks: a Python environment for the checks, rebuilt when their list of packages changes. Sets PYTHON.
python_for_checks() {
  local list=ci/lib/requirements.txt home="$CHECKS/venv"
  mkdir -p "$CHECKS"
  # Two checks may run at the same time; the second waits and finds the environment ready.
  exec 8>"$CHECKS/venv.lock"
  if command -v flock >/dev/null; then flock 8; fi
  if ! cmp -s "$list" "$home/installed.txt"; then
    need python3 python3 || fail "the checks need python3"
    python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv || fail "the checks need python3-venv"
    printf 'preparing Python for the checks\n' >&2
    rm -rf "$home"
    python3 -m venv "$home"
    "$home/bin/pip" install --quiet --disable-pip-version-check -r "$list" >&2
    cp "$list" "$home/installed.txt"
  fi
  exec 8>&-
  # shellcheck disable=SC2034  # for the sourcing script
  PYTHON="$home/bin/python"
}
