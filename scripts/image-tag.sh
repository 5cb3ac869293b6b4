#!/usr/bin/env bash
# Prints the tag of an image that is built from this checkout: <version>-<ref or local>.<commit>[.dirty]
#
#   scripts/image-tag.sh opencode-router                0.1.0-local.1a2b3c4.dirty
#   scripts/image-tag.sh opencode-cloudflare-operator   0.1.0-main.1a2b3c4 (in a workflow, on the branch main)
#   scripts/image-tag.sh opencode-session               1.18.33-local.1a2b3c4: the version of opencode in it
#
# `make -C deploy/homelab` and the workflows call this script, so a commit has the same tag everywhere except
# for the ref: a workflow names its branch or tag (GITHUB_REF_NAME). `.dirty` marks a checkout with changes
# that are not committed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

case ${1:-} in
  opencode-router | opencode-cloudflare-operator)
    version=$(sed -n '/^\[workspace\.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
    ;;
  opencode-session)
    version=$(sed -n 's/^ARG OPENCODE_VERSION=//p' deploy/session/Dockerfile)
    ;;
  *) fail "Usage: scripts/image-tag.sh opencode-router|opencode-cloudflare-operator|opencode-session" ;;
esac
[ -n "$version" ] || fail "The version of $1 was not found in Cargo.toml or deploy/session/Dockerfile."

commit=$(git rev-parse HEAD 2>/dev/null) ||
  fail "This is not a git checkout with a commit, so an image has no tag that says what it was built from. Clone the repository with git, or name a tag yourself."
status=$(git status --porcelain)

# What a tag cannot contain becomes "-" (OCI distribution specification: [a-zA-Z0-9_.-], at most 128
# characters).
ref=${GITHUB_REF_NAME:-local}
ref=${ref//[!a-zA-Z0-9_.-]/-}
printf '%s-%s.%s%s\n' "${version//[!a-zA-Z0-9_.-]/-}" "${ref:0:80}" "${commit:0:7}" "${status:+.dirty}"
