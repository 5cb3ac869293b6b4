# Starts the browser of a session's Pod. POSIX sh; run by `sh -c`. The image's own entry point is not used:
# those of common images offer DevTools to the whole network.
set -eu
for program in headless-shell /headless-shell/headless-shell chromium-headless-shell \
  /ms-playwright/chromium_headless_shell-*/chrome-*/*headless*shell* chromium chromium-browser \
  google-chrome google-chrome-stable chrome /ms-playwright/chromium-*/chrome-*/chrome; do
  if command -v "$program" >/dev/null 2>&1; then
    # DevTools know no password: they are on the Pod's loopback only. Chromium's own sandbox needs rights that
    # a session's Pod does not have.
    exec "$program" --headless --remote-debugging-address=127.0.0.1 --remote-debugging-port=9222 --no-sandbox \
      --disable-dev-shm-usage --disable-gpu --no-first-run --no-default-browser-check \
      --user-data-dir=/tmp/profile about:blank
  fi
done
echo "opencode-router: the image of CHROMIUM_IMAGE contains no Chromium" >&2
exit 127
