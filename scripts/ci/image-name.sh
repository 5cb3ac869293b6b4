#!/usr/bin/env bash
# Prints the full name of an image in GitHub's registry, without a tag:
#
#   GITHUB_REPOSITORY_OWNER=Acme scripts/ci/image-name.sh opencode-router    ghcr.io/acme/opencode-router
set -euo pipefail
name=${1:?names the image, such as opencode-router}
owner=${GITHUB_REPOSITORY_OWNER:?names the owner of the repository}
# An owner's name may have capitals; an image's must not.
printf 'ghcr.io/%s/%s\n' "${owner,,}" "$name"
