#!/usr/bin/env bash
# Finds a Chromium (or Chrome) for the browser tests and prints its path, alone on standard output.
# CHROMIUM=/path/to/chromium names one; otherwise it is looked for, and on Debian as root installed.
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }

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
  say "CHROMIUM names $CHROMIUM, which is no program. Correct it, or unset it to have a Chromium looked for."
  exit 1
fi

if find_chromium; then exit 0; fi

if [ -f /etc/debian_version ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  say "Installing Chromium for the browser tests (Debian's package, about 100 MB to download, once)…"
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  export DEBIAN_FRONTEND=noninteractive
  if { apt-get update && apt-get install -y --no-install-recommends chromium fonts-liberation; } >"$log" 2>&1; then
    if find_chromium; then exit 0; fi
    say "Debian's package chromium was installed, but there is no program chromium on the PATH ($PATH)."
    exit 1
  fi
  tail -n 8 "$log" >&2
  say "Chromium could not be installed with apt-get (see above). Install it yourself, or set CHROMIUM to its program."
  exit 1
fi

say "The browser tests need Chromium, and there is none: install it (on Debian and Ubuntu: sudo apt-get install chromium) or set CHROMIUM to its program."
exit 1
