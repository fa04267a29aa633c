# shellcheck shell=bash disable=SC2016  # backquotes are for the reader
# Installs packages for `dev` and the checks. Other scripts source it.
#
# On a terminal it asks first. Without a terminal it prints what it installs and goes on as root; it refuses any other user.
# DEV_YES=yes (`./dev --yes`) answers the question with yes. It uses sudo only after a yes.

# Servers are in /usr/sbin, which is not in every user's PATH.
has() { command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || [ -x "/opt/homebrew/bin/$1" ]; }

# Debian's PostgreSQL has its server in a folder of its version.
has_postgres() { has postgres || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }

# The prefix of a command that only root may run.
as_root() { [ "$(id -u)" = 0 ] || printf 'sudo '; }

# Homebrew's names of Debian's packages. Returns non-zero if Homebrew does not have one.
brew_names() {
  local package
  for package in "$@"; do
    case "$package" in
      redis-server) printf 'redis ' ;;
      python3-venv) printf 'python3 ' ;;
      gcc|libc6-dev) printf "missing: a C compiler. Please install Apple's command line tools: xcode-select --install\n" >&2; return 1 ;;
      *) printf '%s ' "$package" ;;
    esac
  done
}

# may_install COMMAND LINE...: prints the command, and asks on a terminal. Returns non-zero if it may not run.
may_install() {
  local answer=''
  if [ "${DEV_YES:-}" != yes ] && [ -t 0 ] && [ -t 2 ]; then
    printf 'Packages are missing. Run `%s`? [y/N] ' "$*" >&2
    read -r answer || printf '\n' >&2
    case "$answer" in
      [yY]|[yY][eE][sS]) return 0 ;;
      *) printf 'nothing was installed\n' >&2; return 1 ;;
    esac
  fi
  if [ "${DEV_YES:-}" != yes ] && [ "$(id -u)" != 0 ]; then
    printf 'Packages are missing. Run `%s`, or run `./dev --yes`, which runs it\n' "$*" >&2
    return 1
  fi
  printf 'installing: %s\n' "$*" >&2
}

# install_packages PACKAGE...: Debian's package names. Returns non-zero if it may not, or could not.
install_packages() {
  local names
  if command -v apt-get >/dev/null; then
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
      printf 'missing: %s. Installing them needs root, and there is no sudo\n' "$*" >&2
      return 1
    fi
    may_install "$(as_root)apt-get install $*" && install_by_apt "$@"
  elif command -v brew >/dev/null; then
    names=$(brew_names "$@") || return 1
    # shellcheck disable=SC2086  # names without spaces
    may_install "brew install ${names% }" && brew install $names
  else
    printf 'missing: %s. Install them by hand: there is neither apt-get nor brew\n' "$*" >&2
    return 1
  fi
}

# Debian starts a service when its package is installed. These would use the usual ports and are not needed:
# each run starts its own servers. So no service is started, and none is left enabled.
install_by_apt() (
  # shellcheck disable=SC2046  # `sudo ` or nothing
  root() { $(as_root) "$@"; }
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | root tee "$policy" >/dev/null && root chmod +x "$policy" || return 1
  fi
  root apt-get update -qq >&2 || true
  root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
    { printf 'apt-get could not install %s\n' "$*" >&2; return 1; }
  [ -d /run/systemd/system ] || return 0
  for package in "$@"; do
    case "$package" in nats-server|redis-server|haproxy|prometheus|postgresql) root systemctl disable --quiet "$package" 2>/dev/null || true ;; esac
  done
)
