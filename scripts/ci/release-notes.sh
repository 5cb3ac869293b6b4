#!/usr/bin/env bash
# Prints the section of the version $1 in CHANGELOG.md; of a candidate such as 1.2.3-rc.1 the unreleased one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
section=${1:?names the version}
[[ $section = *-* ]] && section=Unreleased
awk -v heading="## [$section]" '
  index($0, "## [") == 1 { inside = index($0, heading) == 1; next }
  inside' CHANGELOG.md | grep . || { echo "CHANGELOG.md says nothing under [$section]." >&2 && exit 1; }
