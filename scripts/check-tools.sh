#!/usr/bin/env bash
# Says in a sentence each what is missing on this machine to build and run the project; silent if nothing is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

missing=0
lacks() {
  printf '%s\n' "$1" >&2
  missing=1
}

# Whether the version $1 is $2 or newer; both are numbers with dots.
at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

wanted_node=20.19.0
if ! command -v node >/dev/null; then
  lacks "Node.js is missing: the site is built with it. Install version ${wanted_node} or newer from your system's packages or nodejs.org."
else
  node=$(node --version | sed 's/^v//; s/-.*//')
  at_least "$node" "$wanted_node" || lacks "Node.js is version ${node}, and the site's build needs ${wanted_node} or newer. Update it from your system's packages or nodejs.org."
  command -v npm >/dev/null || lacks "npm is missing: it comes with Node.js, in some systems as a package of its own called npm."
fi

command -v git >/dev/null || lacks "git is missing: sessions clone repositories with it. Install it from your system's packages."

wanted_rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if ! command -v cargo >/dev/null; then
  lacks "cargo is missing: the router is written in Rust. Install Rust ${wanted_rust} or newer with rustup (rustup.rs) or from your system's packages."
elif ! rust=$(rustc --version 2>/dev/null | sed 's/^rustc \([0-9.]*\).*/\1/') || [ -z "$rust" ]; then
  lacks "rustc does not run here: $(rustc --version 2>&1 | head -n 1)"
else
  at_least "$rust" "$wanted_rust" || lacks "Rust is version ${rust}, and ${wanted_rust} or newer is needed. Run: rustup update"
fi

command -v cc >/dev/null || lacks "A C compiler (cc) is missing: Rust links programs with it. Install gcc or clang (Debian, Ubuntu: apt install build-essential; macOS: xcode-select --install)."

exit "$missing"
