#!/usr/bin/env bash
# Prints the path of valgrind, which counts instructions for `make check` and `make instructions`. On Debian
# and Ubuntu it is installed if it is missing: by root, and in CI with sudo. Messages go to standard error.
set -euo pipefail

log() { printf '%s\n' "$*" >&2; }

if command -v valgrind; then exit 0; fi

# Prints what runs a command as root, or fails.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    echo env
  elif [ -n "${CI:-}" ] && sudo -n true 2>/dev/null; then
    echo sudo -n
  else
    return 1
  fi
}

if [ -f /etc/debian_version ] && command -v apt-get >/dev/null && root=$(as_root); then
  log "Installing valgrind, which counts instructions (Debian's package, once)…"
  output=$(mktemp)
  trap 'rm -f "$output"' EXIT
  # shellcheck disable=SC2086  # two words
  if { $root apt-get update && $root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends valgrind; } >"$output" 2>&1; then
    command -v valgrind && exit 0
  fi
  tail -n 8 "$output" >&2
  log "apt-get could not install valgrind (see above). Install it yourself."
  exit 1
fi

log "valgrind is missing; it counts the instructions of a request. Install it (on Debian and Ubuntu: sudo apt-get install valgrind)."
exit 1
