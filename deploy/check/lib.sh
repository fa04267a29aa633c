# What the checks share. A script sources it after changing to the repository's root:
#   set -euo pipefail; cd "$(dirname "$0")/../.."; . deploy/check/lib.sh
# shellcheck shell=bash

# One line a check. A check that this machine cannot make is named too: silence would pass for success.
ok() { printf 'ok   %s\n' "$*"; }
not_checked() { printf 'NOT CHECKED: %s\n' "$*"; }
fail() { printf 'FAIL %s\n' "$*" >&2; exit 1; }

# Where the checks keep what they fetch and make. Everything in it can be thrown away.
CHECKS="$PWD/target/check"

. scripts/install.sh

# need COMMAND PACKAGE: makes sure that a command is there; it is installed as scripts/install.sh says.
# Returns non-zero where it cannot be had, so that the caller says what it did not check.
need() {
  if has "$1"; then return 0; fi
  install_packages "$2" && has "$1"
}

# newest_build: the folder of the programs that were built last, target/release or target/debug; nothing where there are none.
newest_build() {
  local found='' folder
  for folder in target/release target/debug; do
    if [ -x "$folder/imchannel" ] && { [ -z "$found" ] || [ "$folder/imchannel" -nt "$found/imchannel" ]; }; then found=$folder; fi
  done
  printf '%s' "$found"
}

# Servers lie in /usr/sbin, which is not on everybody's path.
path_of() { command -v "$1" || printf '/usr/sbin/%s\n' "$1"; }

# python_for_checks: a Python with what the checks need, made anew when their list changes. Sets PYTHON.
python_for_checks() {
  local list=deploy/check/requirements.txt home="$CHECKS/venv"
  mkdir -p "$CHECKS"
  # Two checks may run at once; the second waits and finds the work done.
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
  # shellcheck disable=SC2034  # for whoever sourced this
  PYTHON="$home/bin/python"
}
