#!/usr/bin/env bash
# Makes sure that HAProxy is there, behind which a test restarts two routers. On Debian and Ubuntu it is
# installed if it is missing: by root, and in CI with sudo. Elsewhere that test is skipped, but not in CI.
set -euo pipefail

log() { printf '%s\n' "$*" >&2; }

if [ -n "${HAPROXY_BIN:-}" ] || PATH=$PATH:/usr/sbin:/usr/local/sbin command -v haproxy >/dev/null; then exit 0; fi

root=
if [ "$(id -u)" = 0 ]; then
  root=env
elif [ -n "${CI:-}" ] && sudo -n true 2>/dev/null; then
  root="sudo -n"
fi
if [ -n "$root" ] && [ -f /etc/debian_version ] && command -v apt-get >/dev/null; then
  log "Installing HAProxy for a test (Debian's package, once)…"
  output=$(mktemp)
  trap 'rm -f "$output"' EXIT
  # shellcheck disable=SC2086  # two words
  if { $root apt-get update && $root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends haproxy; } >"$output" 2>&1; then exit 0; fi
  tail -n 8 "$output" >&2
  log "apt-get could not install HAProxy (see above)."
fi
log "HAProxy is missing; the test that restarts routers behind it is skipped. Install it (on Debian and Ubuntu: sudo apt-get install haproxy), or set HAPROXY_BIN to its program."
[ -z "${CI:-}" ]
