#!/usr/bin/env bash
# Checks that a tag such as v1.2.3 or v1.2.3-rc.1 names the version that the tree has everywhere, and prints
# `version=1.2.3`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tag=${1:?names the tag} version=${1#v}
wrong=0
report() { echo "$1" >&2 && wrong=1; }

[[ $tag =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || report "The tag $tag is not v and a version such as 1.2.3."
expect() { # FILE VALUE
  [ "$2" = "$version" ] || report "$1 has the version \"$2\", the tag is $tag."
}
expect Cargo.toml "$(sed -nE '/^\[workspace\.package\]/,/^\[/s/^version = "(.*)"$/\1/p' Cargo.toml)"
expect "deploy/chart/Chart.yaml (version)" "$(sed -nE 's/^version: "?([^"]*)"?$/\1/p' deploy/chart/Chart.yaml)"
expect "deploy/chart/Chart.yaml (appVersion)" "$(sed -nE 's/^appVersion: "?([^"]*)"?$/\1/p' deploy/chart/Chart.yaml)"
# A candidate's changes are still under "Unreleased".
[[ $version = *-* ]] || grep -qF "## [$version]" CHANGELOG.md || report "CHANGELOG.md has no section [$version]."
[ "$wrong" = 0 ] && echo "version=$version"
