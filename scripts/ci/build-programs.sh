#!/usr/bin/env bash
# Builds the programs for one target. FOLDER then has an archive of them, and their SBOMs.
#
#   scripts/ci/build-programs.sh VERSION TARGET FOLDER
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
version=${1:?names the version} target=${2:?names the target, such as x86_64-unknown-linux-gnu} folder=${3:?names the folder}
cyclonedx_version=0.5.9
packages=(router-bin cli cloudflare-operator)
programs=(opencode-router opencode-routerctl opencode-cloudflare-operator)

make web
rustup target add "$target"
# As in deploy/Dockerfile: the C library is linked statically, so the programs run on any Linux.
if [[ $target = *-linux-* ]]; then export RUSTFLAGS="-C target-feature=+crt-static"; fi
cargo build --locked --profile bench --target "$target" "${packages[@]/#/--package=}"

name=opencode-router-$version-$target
mkdir -p "$folder/$name"
for program in "${programs[@]}"; do install -m 755 "target/$target/release/$program" "$folder/$name/"; done
install -m 644 LICENSE README.md CHANGELOG.md "$folder/$name/"

# One list of crates for each program, and one of the site's packages.
cargo install --locked --quiet --root .tools "cargo-cyclonedx@$cyclonedx_version"
for index in "${!packages[@]}"; do
  PATH=$PWD/.tools/bin:$PATH cargo cyclonedx --format json --target "$target" --override-filename sbom --manifest-path "crates/${packages[index]}/Cargo.toml"
  mv "crates/${packages[index]}/sbom.json" "$folder/$name/${programs[index]}.cdx.json"
done
(cd web && npm sbom --sbom-format cyclonedx --package-lock-only) >"$folder/$name/site.cdx.json"

tar -czf "$folder/$name.tar.gz" -C "$folder" "$name"
for sbom in "$folder/$name"/*.cdx.json; do mv "$sbom" "$folder/$name-$(basename "$sbom")"; done
rm -rf "${folder:?}/$name"
