#!/usr/bin/env bash
# Pushes a packaged chart to GitHub's registry, beside the images. Prints its name and digest, also as outputs
# of the workflow's step. The registry's sign-in is docker's.
#
#   scripts/ci/push-chart.sh opencode-router-1.2.3.tgz
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../tests/cluster/lib/common.sh"
. "$here/lib/build.sh"
chart=${1:?names the package}
ensure_built helm
folder=${CHART_REGISTRY:-$("$project/scripts/ci/image-name.sh" charts)}
export HELM_REGISTRY_CONFIG=${HELM_REGISTRY_CONFIG:-${DOCKER_CONFIG:-$HOME/.docker}/config.json}
# Plain HTTP on this machine's own loopback, for tests.
case $folder in localhost:* | 127.*) options=(--plain-http) ;; *) options=() ;; esac
pushed=$("$(bin_of helm)/helm" push "$chart" "oci://$folder" "${options[@]}" 2>&1) || fail "$pushed"
digest=$(sed -nE 's/^Digest: (sha256:[0-9a-f]{64})$/\1/p' <<<"$pushed")
[ -n "$digest" ] || fail "helm printed no digest: $pushed"
printf '%s\n' "name=$folder/opencode-router" "digest=$digest" | tee -a "${GITHUB_OUTPUT:-/dev/null}"
