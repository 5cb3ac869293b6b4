#!/usr/bin/env bash
# Writes the SBOMs (CycloneDX) of a version for one target: the crates of each program, and the site's
# packages.
#
#   scripts/ci/list-packages.sh VERSION TARGET FOLDER
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
version=${1:?names the version} target=${2:?names the target} folder=${3:?names the folder}
cyclonedx=.tools/bin/cargo-cyclonedx cyclonedx_version=0.5.9
mkdir -p "$folder"

[ "$("$cyclonedx" cyclonedx --version 2>/dev/null)" = "cargo-cyclonedx-cyclonedx $cyclonedx_version" ] ||
  cargo install --locked --quiet --root .tools "cargo-cyclonedx@$cyclonedx_version"
# It writes beside each manifest of the workspace.
trap 'rm -f crates/*/sbom-of-release.json' EXIT
"$cyclonedx" cyclonedx --format json --spec-version 1.5 --target "$target" --override-filename sbom-of-release --quiet
mv crates/router-bin/sbom-of-release.json "$folder/opencode-router.cdx.json"
mv crates/cli/sbom-of-release.json "$folder/opencode-routerctl.cdx.json"
mv crates/cloudflare-operator/sbom-of-release.json "$folder/opencode-cloudflare-operator.cdx.json"

# npm describes only a package that has a version, which the site has not.
scratch=$(mktemp -d)
site=$scratch/opencode-router-web # npm takes the folder's name
mkdir "$site"
cp web/package.json web/package-lock.json "$site"
(cd "$site" && npm version --no-git-tag-version "$version" >/dev/null && npm sbom --sbom-format cyclonedx --package-lock-only) >"$folder/site.cdx.json"
rm -rf "$scratch"
