# Checks what a node requires of the machine, and collects its programs. Sourced by `up`; needs common.sh and
# build.sh.

node_needs() {
  [ "$(uname -s)" = Linux ] || fail "A cluster with a node needs Linux."
  [ "$(id -u)" = 0 ] || fail "A cluster with a node needs root (namespaces, mounts, containers). Use sudo, or a KUBECONFIG of a disposable cluster."
  unshare --net --mount --pid --fork true 2>/dev/null || fail "This machine does not let root make namespaces: no cluster with a node can run here."
  need ip:iproute2 iptables:iptables buildah:buildah setpriv:util-linux nsenter:util-linux "cc:gcc libc6-dev" pkg-config:pkg-config
  # runc is built with these headers; an already built runc does not need them.
  [ -d "$(bin_of runc)" ] || pkg-config --exists libseccomp || install_packages libseccomp-dev ||
    fail "libseccomp's headers are missing; runc is built with them. On Debian and Ubuntu: sudo apt-get install libseccomp-dev"
}

# Prints a folder with links to all programs; a changed program changes its name.
node_assets() {
  local set all=() digest folder
  for set in control-plane node containerd runc cni helm; do all+=("$(bin_of "$set")"); done
  digest=$(printf '%s\n' "${all[@]}" | openssl dgst -sha256 -r)
  folder=$cache/node-${digest:0:8}
  if [ ! -d "$folder" ]; then
    mkdir -p "$folder.$$"
    for set in "${all[@]}"; do ln -s "$set"/* "$folder.$$/"; done
    mv -T "$folder.$$" "$folder" 2>/dev/null || rm -rf "$folder.$$"
  fi
  echo "$folder"
}

# Builds the pause image, which holds a Pod's namespaces: one static program.
ensure_pause() {
  local folder=$cache/partial-pause.$$
  [ ! -e "$cache/pause.tar" ] || return 0
  remove_partial partial-pause
  mkdir -p "$folder"
  cc -Os -static -o "$folder/pause" "$here/lib/pause.c"
  local container
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$folder/pause" /pause >/dev/null
  buildah config --entrypoint '["/pause"]' --user 65535:65535 "$container"
  buildah commit --quiet "$container" localhost/pause:1 >/dev/null
  buildah rm "$container" >/dev/null
  buildah push --quiet localhost/pause:1 "oci-archive:$folder/pause.tar:localhost/pause:1"
  mv "$folder/pause.tar" "$cache/pause.tar"
  rm -rf "$folder"
}
