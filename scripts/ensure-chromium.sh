#!/usr/bin/env bash
# Prints the path of a Chromium (or Chrome) for the browser tests: CHROMIUM, or one on the PATH. On Debian,
# root installs it if it is missing. Messages go to standard error.
set -euo pipefail

log() { printf '%s\n' "$*" >&2; }

find_chromium() {
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable chrome \
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome" "/Applications/Chromium.app/Contents/MacOS/Chromium"; do
    if command -v "$name" 2>/dev/null; then return 0; fi
  done
  return 1
}

if [ -n "${CHROMIUM:-}" ]; then
  if [ -f "$CHROMIUM" ] && [ -x "$CHROMIUM" ]; then
    printf '%s\n' "$CHROMIUM"
    exit 0
  fi
  log "CHROMIUM is $CHROMIUM, which is not a program. Correct it, or unset it to use a Chromium on the PATH."
  exit 1
fi

if find_chromium; then exit 0; fi

if [ -f /etc/debian_version ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  log "Installing Chromium for the browser tests (Debian's package, about 100 MB to download, once)…"
  output=$(mktemp)
  trap 'rm -f "$output"' EXIT
  export DEBIAN_FRONTEND=noninteractive
  if { apt-get update && apt-get install -y --no-install-recommends chromium fonts-liberation; } >"$output" 2>&1; then
    if find_chromium; then exit 0; fi
    log "Debian's package chromium is installed, but no chromium is on the PATH ($PATH)."
    exit 1
  fi
  tail -n 8 "$output" >&2
  log "apt-get could not install Chromium (see above). Install it yourself, or set CHROMIUM to its program."
  exit 1
fi

log "Chromium was not found; the browser tests need it. Install it (on Debian and Ubuntu: sudo apt-get install chromium), or set CHROMIUM to its program."
exit 1
