# Paths, messages and waiting, shared by the tools of tests/cluster. Sourced, after `set -euo pipefail`.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
project=$(cd "$here/../.." && pwd)

# Programs and base images, by version; built once and used by every run.
cache=${OPENCODE_CLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/opencode-router/cluster}
# One folder per running cluster. A short path, since the paths of sockets begin with it.
runs=${OPENCODE_CLUSTER_RUNS:-${TMPDIR:-/tmp}/opencode-cluster.$(id -u)}

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

# Milliseconds since the epoch.
now() { date +%s%3N; }
# The time since $1 (milliseconds since the epoch), such as "3.2 s".
since() {
  local ms=$(($(now) - $1))
  printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
}

# Whether the process $1 is alive; a zombie is not.
alive() {
  local state
  [ -n "${1:-}" ] && kill -0 "$1" 2>/dev/null || return 1
  state=$(ps -o state= -p "$1" 2>/dev/null) && [ "${state:0:1}" != Z ]
}

# Removes the folders `$cache/$1.<process>` of interrupted runs.
remove_partial() {
  local one
  for one in "$cache/$1".*; do
    if [ -e "$one" ] && ! alive "${one##*.}"; then rm -rf --one-file-system "$one"; fi
  done
}

# Waits at most $1 seconds for the command that follows to succeed.
await() {
  local until=$(($(now) + $1 * 1000))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$(now)" -lt "$until" ] || return 1
    sleep 0.05
  done
}

# Prints $1 free loopback ports, chosen by the kernel.
free_ports() {
  node -e '
    const net = require("node:net"), wanted = Number(process.argv[1]), open = [];
    const next = () => {
      const server = net.createServer().listen(0, "127.0.0.1", () => {
        open.push(server);
        if (open.length < wanted) return next();
        console.log(open.map((one) => one.address().port).join(" "));
        open.forEach((one) => one.close());
      });
    };
    next();' "$1"
}

# Runs a command in a process group of its own, which gets the signal that ends this script; returns the
# command's code. (Bash itself would wait for the command first.)
supervised() {
  local pid code
  set -m
  "$@" <&0 &
  pid=$!
  set +m
  trap 'kill -TERM -- "-$pid" 2>/dev/null' INT TERM HUP
  while :; do
    code=0
    wait "$pid" || code=$?
    alive "$pid" || break
  done
  trap - INT TERM HUP
  return "$code"
}

# Names all missing programs at once; silent if none is missing. Each argument is "program:package" (or
# "program:package package"). As root on Debian and Ubuntu it installs them.
need() {
  local one missing=()
  for one in "$@"; do command -v "${one%%:*}" >/dev/null || missing+=("$one"); done
  [ ${#missing[@]} = 0 ] && return
  if install_packages "${missing[@]#*:}"; then return; fi
  for one in "${missing[@]}"; do say "${one%%:*} is missing; the test cluster needs it. On Debian and Ubuntu: sudo apt-get install ${one#*:}"; done
  exit 1
}

# Installs Debian packages if it can; each argument may name several.
install_packages() {
  local log wanted=($*)
  [ -f /etc/debian_version ] && [ "$(id -u)" = 0 ] || return
  say "Installing Debian's packages ${wanted[*]} for the test cluster (once)…"
  log=$(mktemp)
  if { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${wanted[@]}"; } >"$log" 2>&1; then
    rm -f "$log"
    return
  fi
  tail -n 8 "$log" >&2
  rm -f "$log"
  return 1
}
