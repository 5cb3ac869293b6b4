#!/usr/bin/env bash
# Makes one tag from the images of both platforms, which are already in the registry.
#
#   scripts/ci/publish-image.sh IMAGE FOLDER [VERSION]
#
# FOLDER has a file for each platform, with the digest of its image. Without VERSION the tag is what
# scripts/image-tag.sh prints. `latest` follows: on main, and for a version without a suffix such as -rc.1.
# Prints image, digest and reference, also as outputs of the workflow's step.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
component=${1:?names the image} folder=${2:?names the folder of digests} version=${3:-}
image=$("$here/image-name.sh" "$component")

sources=()
for file in "$folder"/*; do
  digest=$(cat "$file")
  [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "$file contains no digest: $digest" >&2 && exit 1; }
  sources+=("$image@$digest")
done
[ ${#sources[@]} = 2 ] || { echo "Expected the digests of two platforms in $folder, found ${#sources[@]}." >&2 && exit 1; }

if [ -n "$version" ]; then
  tag=$version
  [[ $version = *-* ]] && latest= || latest=1
else
  tag=$("$here/../image-tag.sh" "$component")
  [ "${GITHUB_REF:-}" = refs/heads/main ] && latest=1 || latest=
fi
docker buildx imagetools create --tag "$image:$tag" ${latest:+--tag "$image:latest"} "${sources[@]}"
digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image:$tag")
printf '%s\n' "image=$image" "digest=$digest" "reference=$image:$tag@$digest" | tee -a "${GITHUB_OUTPUT:-/dev/null}"
