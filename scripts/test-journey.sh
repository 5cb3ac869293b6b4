#!/usr/bin/env bash
# The tests that need the whole: the installer's, then the journeys in a real browser. `make test` calls it,
# after the site was built; arguments choose journeys (`scripts/test-journey.sh two-users`). The router comes
# from a development build unless ROUTER_BIN names one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*" >&2; }

if [ ! -f web/dist/index.html ]; then
  say "The site is not built, and the router would have none to show. Run: make web"
  exit 1
fi
CHROMIUM=$(bash scripts/ensure-chromium.sh)
OPENCODE_BIN=$(node scripts/install-opencode.mjs)
export CHROMIUM OPENCODE_BIN

if [ -z "${ROUTER_BIN:-}" ]; then
  cargo build --locked -p router-bin
  ROUTER_BIN=$(realpath "${CARGO_TARGET_DIR:-target}/debug/opencode-router")
fi
export ROUTER_BIN

if [ ! -d tests/journey/node_modules/playwright-core ]; then
  npm ci --prefix tests/journey --no-audit --no-fund --no-update-notifier --loglevel=error
fi

[ $# -gt 0 ] || node --test scripts/
exec node tests/journey/run.mjs "$@"
