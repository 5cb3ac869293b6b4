#!/usr/bin/env bash
# Checks the tools that the build needs, or the ones named as arguments (go, pip), which only `make check`
# needs. Prints a sentence for each missing one, and nothing if all are there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

missing=0
report() {
  printf '%s\n' "$1" >&2
  missing=1
}

# Whether the version $1 is $2 or newer; both are numbers with dots.
at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

for tool in "$@"; do
  case $tool in
    go) command -v go >/dev/null || report "Go is missing; actionlint, which checks the workflows, is built with it. Install it from your system's packages or go.dev." ;;
    pip) python3 -m pip --version >/dev/null 2>&1 || report "Python's pip is missing; zizmor, which checks the workflows, is installed with it. Install python3 and pip from your system's packages (Debian, Ubuntu: apt install python3-pip)." ;;
    *) report "scripts/check-tools.sh knows no tool named $tool." ;;
  esac
done
[ $# = 0 ] || exit "$missing"

required_node=20.19.0
if ! command -v node >/dev/null; then
  report "Node.js is missing; the site's build needs it. Install version ${required_node} or newer from your system's packages or nodejs.org."
else
  node=$(node --version | sed 's/^v//; s/-.*//')
  at_least "$node" "$required_node" || report "Node.js ${node} is too old; the site's build needs ${required_node} or newer. Update it from your system's packages or nodejs.org."
  command -v npm >/dev/null || report "npm is missing; the site's build needs it. It comes with Node.js, on some systems as a separate package named npm."
fi

command -v git >/dev/null || report "git is missing; sessions clone repositories with it. Install it from your system's packages."

required_rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if ! command -v cargo >/dev/null; then
  report "cargo is missing; the router is written in Rust. Install Rust ${required_rust} or newer with rustup (rustup.rs) or from your system's packages."
elif ! rust=$(rustc --version 2>/dev/null | sed 's/^rustc \([0-9.]*\).*/\1/') || [ -z "$rust" ]; then
  report "rustc does not run: $(rustc --version 2>&1 | head -n 1)"
else
  at_least "$rust" "$required_rust" || report "Rust ${rust} is too old; ${required_rust} or newer is needed. Run: rustup update"
fi

command -v cc >/dev/null || report "A C compiler (cc) is missing; Rust links programs with it. Install gcc or clang (Debian, Ubuntu: apt install build-essential; macOS: xcode-select --install)."

exit "$missing"
