#!/usr/bin/env bash
# Supervises a cluster of one node, from outside its namespaces. Started by `up`; $1 is the run's folder, $2
# the process that owns it (0: none), $3 the folder with all programs.
#
# The node has process, mount, network, IPC and UTS namespaces of its own. When their first process ends, the
# kernel ends everything in them, containers, mounts and bridges included; that process ends with this script,
# even after `kill -9`. The run's folder and control groups remain: see run.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh
. ./pki.sh
. ./parts.sh
. ./run.sh
state=$1 owner=$2 assets=$3
keeper_begins

start namespaces unshare --fork --kill-child --pid --mount-proc --mount --propagation slave --net --ipc --uts \
  "$here/lib/inside.sh" "$state" "$assets"
first_process() { first=$(ps -o pid= --ppid "${pids[namespaces]}" | tr -d ' ') && [ -n "$first" ]; }
await_part namespaces 10 first_process
echo "$first" >"$state/first-process"
await_part namespaces 300 test -e "$state/inside-ready"

# The only entrance: a port of this machine's loopback.
start forward node "$here/forward.mjs" "$state" 10.77.0.1:6443 "$state/port"
await_part forward 20 test -s "$state/port"
make_kubeconfig "$state/kubeconfig" "https://127.0.0.1:$(cat "$state/port")" "$state/pki" admin
keeper_is_ready
control_name=outside held_name=outside-held # `control` is for the parts inside
keep_outside() { owner_lives && alive "$first"; }
keep keep_outside
