#!/usr/bin/env bash
# Packages the crates that are fit to publish, unpacks them outside the workspace, and runs their tests from
# there: a package that lacks a file, or relies on the workspace, fails.
#
# `cargo package` alone would only compile them, and against a copy of session-key in cargo's home that it
# never unpacks again while the version stays the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}

cargo package --locked --allow-dirty --no-verify --quiet -p session-key -p proxy-core
folder=$target/package/alone
rm -rf "$folder"
mkdir -p "$folder"
for name in session-key proxy-core; do
  version=$(cargo metadata --no-deps --format-version 1 | python3 -c \
    'import json, sys; print(next(p["version"] for p in json.load(sys.stdin)["packages"] if p["name"] == sys.argv[1]))' "$name")
  mkdir "$folder/$name"
  tar xzf "$target/package/$name-$version.crate" -C "$folder/$name" --strip-components=1
done
# The versions of dependencies that everything else is tested with.
cp Cargo.lock "$folder/"
cat >"$folder/Cargo.toml" <<EOF
[workspace]
members = ["session-key", "proxy-core"]
resolver = "3"

[patch.crates-io]
session-key = { path = "session-key" }
EOF
cd "$folder"
cargo test --offline --quiet --all-features --package session-key
# Some of the tests run the examples. `leaks` and `memory` would take long and need no further file.
cargo build --offline --quiet --all-features --package proxy-core --examples
cargo test --offline --quiet --all-features --package proxy-core --lib --test it
