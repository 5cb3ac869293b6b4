#!/usr/bin/env bash
# Builds the programs for one target. FOLDER then has an archive of them, and their SBOMs.
#
#   scripts/ci/build-programs.sh VERSION TARGET FOLDER
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
version=${1:?names the version} target=${2:?names the target, such as x86_64-unknown-linux-gnu} folder=${3:?names the folder}
name=opencode-router-$version-$target
mkdir -p "$folder/$name"

make web
rustup target add "$target"
# As in deploy/Dockerfile: the C library is linked statically, so the programs run on any Linux.
if [[ $target = *-linux-* ]]; then export RUSTFLAGS="-C target-feature=+crt-static"; fi
cargo build --locked --profile bench --target "$target" --package router-bin --package cli --package cloudflare-operator
for program in opencode-router opencode-routerctl opencode-cloudflare-operator; do
  install -m 755 "${CARGO_TARGET_DIR:-target}/$target/release/$program" "$folder/$name/"
done
install -m 644 LICENSE README.md CHANGELOG.md "$folder/$name/"

scripts/ci/list-packages.sh "$version" "$target" "$folder/sbom"
for sbom in "$folder"/sbom/*; do
  cp "$sbom" "$folder/$name/"
  mv "$sbom" "$folder/$name-${sbom##*/}"
done
rmdir "$folder/sbom"
tar -czf "$folder/$name.tar.gz" -C "$folder" "$name"
rm -rf "${folder:?}/$name"
