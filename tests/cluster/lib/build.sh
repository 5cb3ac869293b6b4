# Builds the cluster's programs from Go modules, into the cache, once per version. Sourced; needs common.sh.
#
# Each folder of tools/ is a module of its own: its go.mod says the versions, each of its Go files a set of programs.
# What a set gives lies in `$cache/<set>-<version>-<digest>/`. That folder gets its name only once all its programs
# are built, so what is found under the name is whole; a build that was cut off goes on from Go's own cache.

# All sets: the file under tools/, and the module whose version is theirs.
declare -A set_file=(
  [control-plane]=kubernetes/control_plane.go [node]=kubernetes/node.go [containerd]=containerd/tools.go
  [runc]=runc/tools.go [cni]=cni/tools.go [helm]=helm/tools.go
)
declare -A set_module=(
  [control-plane]=k8s.io/kubernetes [node]=k8s.io/kubernetes [containerd]=github.com/containerd/containerd/v2
  [runc]=github.com/opencontainers/runc [cni]=github.com/containernetworking/plugins [helm]=helm.sh/helm/v4
)

# The version of the set $1, as its go.mod has it.
version_of() {
  local folder=$here/tools/${set_file[$1]%/*}
  sed -nE "s,^(require)?[[:space:]]*${set_module[$1]} (v[^ ]+)\$,\2,p" "$folder/go.mod"
}

# Where the programs of the set $1 lie or will lie; anything that changes them changes the name.
bin_of() {
  local folder=$here/tools/${set_file[$1]%/*} digest
  digest=$({ cat "$folder/go.mod" "$folder/go.sum" "$here/tools/${set_file[$1]}" && declare -f compile; } | openssl dgst -sha256 -r)
  printf '%s/%s-%s-%s\n' "$cache" "$1" "$(version_of "$1")" "${digest:0:8}"
}

# Builds each set named, unless it is there.
ensure_built() {
  local set
  for set in "$@"; do
    [ -d "$(bin_of "$set")" ] || build "$set"
  done
}

# What keeps the control plane from running here, as a sentence; nothing if it can run. (Packages of Debian do not count:
# `up` installs those, or names them.)
lacks_for_control_plane() {
  local wanted has
  if [ "$(uname -s)" != Linux ]; then
    echo "the test cluster runs on Linux only."
  elif [ -z "${KUBEBUILDER_ASSETS:-}" ] && [ ! -d "$(bin_of control-plane)" ]; then
    wanted=$(sed -n 's/^go //p' "$here/tools/kubernetes/go.mod")
    if ! command -v go >/dev/null; then
      echo "Go $wanted or newer is missing, which builds the API server, and KUBEBUILDER_ASSETS names no folder that has it."
    else
      has=$(cd "$here/tools/kubernetes" && go env GOVERSION 2>/dev/null) # where Go fetches newer ones of itself, that one
      [ "$(printf '%s\n' "$wanted" "${has#go}" | sort -V | head -n 1)" = "$wanted" ] ||
        echo "Go $wanted or newer builds the API server, here is ${has#go}, and KUBEBUILDER_ASSETS names no folder that has it."
    fi
  fi
}

build() {
  local set=$1 target partial version started lock
  target=$(bin_of "$set") version=$(version_of "$set") partial=$cache/partial-$set
  command -v go >/dev/null ||
    fail "Go is missing: the test cluster is built with it (1.26 or newer). For the control plane alone, KUBEBUILDER_ASSETS can name a folder with etcd, kube-apiserver and kubectl instead."
  mkdir -p "$cache"
  exec {lock}>"$cache/$set.lock"
  flock -n "$lock" || { say "Another run is building $set: waiting for it." && flock "$lock"; }
  if [ ! -d "$target" ]; then
    rm -rf "$partial"
    mkdir "$partial"
    started=$(now)
    say "Building $set $version from Go modules (once; the programs are kept in $cache)."
    compile "$set" "$version" "$partial" 2> >(show_progress "Building $set $version") ||
      fail "$set $version could not be built (see above)."
    mv "$partial" "$target"
    say "Built $set $version in $(since "$started")."
  fi
  exec {lock}>&-
}

# Compiles the set $1 of version $2 into the folder $3. First line on standard error: how many packages at most.
compile() (
  set=$1 version=$2 folder=$3
  export CGO_ENABLED=0 GOFLAGS=-mod=readonly
  symbols="-s -w" tags=
  case $set in
    control-plane | node) symbols+=" -X k8s.io/component-base/version.gitVersion=$version -X k8s.io/client-go/pkg/version.gitVersion=$version" ;;
    containerd)
      symbols+=" -X github.com/containerd/containerd/v2/version.Version=$version"
      tags=no_btrfs,no_devmapper,no_zfs
      ;;
    runc) # seccomp is C; without it no Pod of the `restricted` level starts
      pkg-config --exists libseccomp || { say "libseccomp's headers are missing; runc is built with them. On Debian and Ubuntu: sudo apt-get install libseccomp-dev" && exit 1; }
      export CGO_ENABLED=1 && tags=seccomp
      ;;
    helm) symbols+=" -X helm.sh/helm/v4/internal/version.version=$version" ;;
  esac
  cd "$here/tools/${set_file[$set]%/*}" || exit
  mapfile -t packages < <(sed -nE 's/^	_ "(.*)"$/\1/p' "${set_file[$set]#*/}")
  # Its own work waits for everybody else's.
  nice -n 19 go list -deps -tags "$tags" "${packages[@]}" | wc -l >&2 || exit
  nice -n 19 go build -v -trimpath -buildvcs=false -tags "$tags" -ldflags "$symbols" -o "$folder/" "${packages[@]}" || exit
  # etcd's main package is called `server`.
  [ "$set" != control-plane ] || mv "$folder/server" "$folder/etcd"
)

# Counts the packages that `go build -v` names on standard input, and passes on what is none.
show_progress() {
  local what=$1 total='?' count=0 started told line
  started=$(now) told=$started
  while read -r -t 5 line || { [ $? -gt 128 ] && line=-; }; do # also a line of its own each 5 s: linking says nothing
    if [ "$line" = - ]; then
      :
    elif [[ $line =~ ^[0-9]+$ ]]; then
      total=$line
    elif [[ $line =~ [[:space:]]|^$ ]]; then
      [[ $line == "go: downloading"* ]] || say "$line"
    else
      count=$((count + 1))
    fi
    line="$what: $count of at most $total packages, $(since "$started")"
    if [ -t 2 ]; then
      printf '\r\033[K%s' "$line" >&2
    elif [ $(($(now) - told)) -ge 15000 ]; then
      told=$(now)
      say "$line"
    fi
  done
  if [ -t 2 ]; then printf '\r\033[K' >&2; fi
}
