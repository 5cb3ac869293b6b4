#!/usr/bin/env bash
# Fails if the public API of a crate that is fit to publish has a type of another crate that its Cargo.toml
# does not allow: an update of that crate could break whoever uses ours.
#
#   scripts/check-external-types.sh PATH/OF/cargo-check-external-types
#
# The network is used only if `cargo fetch` did not get what the crates depend on.
set -euo pipefail
tool=${1:?Usage: scripts/check-external-types.sh PATH/OF/cargo-check-external-types}
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A folder of its own: build scripts of dependencies run again if RUSTC_BOOTSTRAP changes.
target=${CARGO_TARGET_DIR:-target}/external-types
mkdir -p "$target"
CARGO_TARGET_DIR=$(cd "$target" && pwd)
# The tool reads rustdoc's JSON, which the stable toolchain only prints with this variable. The JSON's format
# is that of the toolchain's version, so a new toolchain may need a new version of the tool.
export CARGO_TARGET_DIR RUSTC_BOOTSTRAP=1

failed=0
for crate in session-key proxy-core; do
  echo "check-external-types: $crate"
  "$tool" check-external-types --all-features --manifest-path "crates/$crate/Cargo.toml" || failed=$?
done
if [ "$failed" = 1 ]; then
  echo "check-external-types: hide the type, or allow it in [package.metadata.cargo_check_external_types]" \
    "of the crate's Cargo.toml, and say there why it is part of the API" >&2
fi
exit "$failed"
