#!/usr/bin/env bash
# Packages the chart of a version into a folder. Its defaults name the images of that version in GitHub's
# registry, so that it installs without naming any.
#
#   GITHUB_REPOSITORY_OWNER=Acme scripts/ci/package-chart.sh 1.2.3 FOLDER
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../tests/cluster/lib/common.sh"
. "$here/lib/build.sh"
version=${1:?names the version} folder=${2:?names the folder}
router=$("$project/scripts/ci/image-name.sh" opencode-router)
operator=$("$project/scripts/ci/image-name.sh" opencode-cloudflare-operator)
session=$("$project/scripts/ci/image-name.sh" opencode-session)
ensure_built helm

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -R "$project/deploy/chart" "$copy/opencode-router"
values=$copy/opencode-router/values.yaml
sed -i.orig -e "s,^  repository: opencode-router\$,  repository: $router," -e "s,^    repository: opencode-cloudflare-operator\$,    repository: $operator," \
  -e "s,^  image: opencode-session:.*\$,  image: $session:$version," "$values"
rm "$values.orig"
for line in "  repository: $router" "    repository: $operator" "  image: $session:$version"; do
  grep -qxF "$line" "$values" || fail "values.yaml does not name the images as this script expects."
done
mkdir -p "$folder"
"$(bin_of helm)/helm" package "$copy/opencode-router" --version "$version" --app-version "$version" --destination "$folder"
