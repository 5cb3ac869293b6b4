# Builds base images from package registries and this machine. Sourced; needs common.sh.
# They are in buildah's own store under names that describe their content, so each is built once.

suite=trixie

# Builds the image localhost/opencode-router/$1:test from the Dockerfile $2 and the context $3; prints its
# name.
build_image() {
  local name=localhost/opencode-router/$1:test file=$2 context=$3 started
  shift 3
  started=$(now)
  say "Building $name from ${file#"$project"/}."
  run_logged nice -n 19 buildah bud --layers --isolation chroot --format oci --tag "$name" --file "$file" "$@" "$context"
  say "Built $name in $(since "$started")."
  echo "$name"
}

# Makes an image that contains only the static program $1, for a user who is not root; prints its name. The
# program's folder, which names its version, is the image's tag.
program_image() {
  local program=${1##*/} version container name
  version=$(basename "$(dirname "$1")")
  name=localhost/opencode-router/$program:${version#"$program"-}
  if ! buildah inspect --type image "$name" >/dev/null 2>&1; then
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$1" "/$program" >/dev/null
    buildah config --entrypoint "[\"/$program\"]" --user 65532:65532 "$container"
    buildah commit --quiet --rm "$container" "$name" >/dev/null
  fi
  echo "$name"
}

# Builds a minimal Debian that trusts this machine's certificate authorities; prints its name.
debian_base() {
  local name=localhost/opencode-router/debian:$suite-2 root=$cache/partial-debian.$$ container started
  need buildah:buildah
  if [ -n "${IMAGES_BASE:-}" ]; then echo "$IMAGES_BASE" && return; fi
  if buildah inspect --type image "$name" >/dev/null 2>&1; then echo "$name" && return; fi
  need "debootstrap:debootstrap debian-archive-keyring"
  started=$(now)
  say "Making a Debian $suite to build images from (once)."
  mkdir -p "$cache"
  # A mount namespace of its own: an interrupted debootstrap leaves no mounts behind.
  remove_partial partial-debian
  run_logged nice -n 19 unshare --mount --pid --fork --kill-child debootstrap --variant=minbase --include=ca-certificates "$suite" "$root"
  mkdir -p "$root/usr/local/share/ca-certificates"
  cp -L /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
  run_logged chroot "$root" update-ca-certificates
  # As in Debian's own images: without apt's caches.
  echo 'Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache ""; APT::Install-Recommends "false";' >"$root/etc/apt/apt.conf.d/in-image"
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
  container=$(buildah from scratch)
  nice -n 19 buildah add --quiet "$container" "$root" / >/dev/null
  rm -rf "$root"
  buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd /bin/bash "$container"
  buildah commit --quiet --rm "$container" "$name" >/dev/null
  say "Made it in $(since "$started")."
  echo "$name"
}

# Builds the image that builds the router: the Debian above with a C compiler and this machine's Rust and
# Node. Prints its name.
builder_base() {
  local base rust name container
  base=$(debian_base)
  rust=$(cd "$project" && rustc --print sysroot)
  name=localhost/opencode-router/builder:$suite-rust$(rustc --version | cut -d' ' -f2)-node$(node -p process.versions.node)
  if buildah inspect --type image "$name" >/dev/null 2>&1; then echo "$name" && return; fi
  say "Making the image that builds the router, with this machine's Rust and Node (once)."
  container=$(buildah from "$base")
  run_logged buildah run --isolation chroot "$container" sh -c 'apt-get update && apt-get install -y --no-install-recommends build-essential cmake && rm -rf /var/lib/apt/lists/*'
  buildah add --quiet "$container" "$rust/bin" /usr/local/rust/bin >/dev/null
  buildah add --quiet "$container" "$rust/lib" /usr/local/rust/lib >/dev/null
  buildah add --quiet "$container" "$(node -p process.execPath)" /usr/local/bin/node >/dev/null
  buildah add --quiet "$container" "$(npm root --global)/npm" /usr/local/lib/node_modules/npm >/dev/null
  buildah run --isolation chroot "$container" ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
  buildah config --env PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    --env CARGO_HOME=/usr/local/cargo --env NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt "$container"
  buildah commit --quiet --rm "$container" "$name" >/dev/null
  echo "$name"
}

# Runs a command whose output matters only if it fails; shows the steps of a Dockerfile as they run.
run_logged() {
  local log
  log=$(mktemp)
  if ! "$@" 2>&1 </dev/null | tee "$log" | { grep --line-buffered -oE '^(\[[0-9/]+\] )?STEP [0-9/]+: .{1,90}' >&2 || true; }; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    fail "$1 failed (see above)."
  fi
  rm -f "$log"
}
