#!/usr/bin/env bash
# Writes the kubeconfig from the environment variable KUBECONFIG_CONTENT (the text itself, or its base64) to
# the file $1, which only this user can read.
set -euo pipefail
file=${1:?names the file to write}
: "${KUBECONFIG_CONTENT:?is empty: set the secret HOMELAB_KUBECONFIG (or KUBECONFIG)}"
umask 077
mkdir -p "$(dirname "$file")"
case $KUBECONFIG_CONTENT in
  *apiVersion:* | *'"apiVersion"'*) printf '%s\n' "$KUBECONFIG_CONTENT" ;;
  *) base64 --decode <<<"$KUBECONFIG_CONTENT" ;;
esac >"$file" || { rm -f "$file" && echo "The secret is neither a kubeconfig nor its base64." >&2 && exit 1; }
grep -q '^clusters:\|"clusters"' "$file" || { rm -f "$file" && echo "The secret is not a kubeconfig: it names no clusters." >&2 && exit 1; }
