#!/usr/bin/env bash
# Fails if the public API of a crate that is fit to publish breaks while its version stays the same.
#
#   scripts/check-api.sh PATH/OF/cargo-semver-checks
#
# The API is compared with the crate's last release (a tag such as proxy-core-v0.2.0). Without one it is
# compared with the commit that set the crate's version, so that a change which breaks the API raises the
# version in the same commit (0.2.0 to 0.3.0), released or not. What breaks is what Cargo counts as such:
# https://doc.rust-lang.org/cargo/reference/semver.html
#
# The network is used only if `cargo fetch` did not get what the older commit depends on.
set -euo pipefail
# The tool's exit code for an API that breaks; others mean that it could not compare.
BREAKS=100
tool=${1:?Usage: scripts/check-api.sh PATH/OF/cargo-semver-checks}
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# manifest COMMIT FILE: prints the file at a commit, or as it is in the checkout if COMMIT is empty.
manifest() {
  if [ -n "$1" ]; then git show "$1:$2" 2>/dev/null || true; else cat "$2"; fi
}

# version COMMIT CRATE: prints the crate's own version, or the one that it inherits; nothing if there is no
# such crate.
version() {
  local own
  own=$(manifest "$1" "crates/$2/Cargo.toml" | sed -nE 's/^version(\.workspace)? = "?([^"]*)"?$/\2/p')
  [ "$own" = true ] || { echo "$own" && return; }
  manifest "$1" Cargo.toml | sed -n 's/^version = "\(.*\)"$/\1/p'
}

# baseline CRATE VERSION: prints the commit to compare with; prints nothing if no such commit exists.
baseline() {
  local tag commit found=
  if tag=$(git describe --tags --abbrev=0 --match "$1-v*" 2>/dev/null); then
    git rev-parse "$tag^{commit}"
    return
  fi
  while read -r commit; do
    [ "$(version "$commit" "$1")" = "$2" ] || break
    found=$commit
  done < <(git log --first-parent --format=%H -- Cargo.toml "crates/$1/Cargo.toml")
  # A version that is not committed yet is compared with the last commit's.
  [ -n "$found" ] || [ -z "$(version HEAD "$1")" ] || found=$(git rev-parse HEAD)
  printf '%s' "$found"
}

if ! git rev-parse --quiet --verify HEAD >/dev/null; then
  echo "check-api: skipped, because this is not a git checkout with a commit to compare with"
  exit
fi
if [ "$(git rev-parse --is-shallow-repository)" = true ]; then
  echo "check-api: only the commits of this shallow clone are compared with (git fetch --unshallow --tags)"
fi
for crate in session-key proxy-core; do
  current=$(version "" "$crate")
  base=$(baseline "$crate" "$current")
  if [ -z "$base" ]; then
    echo "check-api: $crate is skipped, because no commit has it"
  elif git diff --quiet "$base" -- "crates/$crate/src" "crates/$crate/Cargo.toml"; then
    echo "check-api: $crate $current is as at ${base:0:7}"
  else
    check=("$tool" semver-checks --package "$crate" --all-features --baseline-rev "$base")
    # Else the tool would also refuse additions, as in a patch release.
    [ "$(version "$base" "$crate")" != "$current" ] || check+=(--release-type minor)
    code=0
    CARGO_NET_OFFLINE=true "${check[@]}" || code=$?
    if [ "$code" != 0 ] && [ "$code" != "$BREAKS" ]; then
      echo "check-api: again, with the network"
      code=0
      "${check[@]}" || code=$?
    fi
    if [ "$code" = "$BREAKS" ]; then
      echo "check-api: $crate $current breaks what it promised at ${base:0:7}. Keep the API, or raise the" \
        "crate's version in Cargo.toml and note the change in CHANGELOG.md." >&2
    fi
    [ "$code" = 0 ] || exit "$code"
  fi
done
