#!/usr/bin/env bash
# Runs the API server and etcd alone, on loopback: no root, no node. Started by `up`; $1 is the run's folder,
# $2 the process that owns it (0: none). SIGTERM ends it, and removes its folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh
. ./pki.sh
. ./parts.sh
. ./run.sh
state=$1 owner=$2 assets=$3
keeper_begins

make_authority "$state/pki" 2>>"$state/log/openssl.log"
make_certificate "$state/pki" apiserver /CN=kube-apiserver IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc
make_certificate "$state/pki" admin /O=system:masters/CN=admin

# Another process may take a port between the kernel's choice and its use; then other ports are tried.
for try in 1 2 3; do
  read -r clients peers port <<<"$(free_ports 3)"
  if start_etcd 127.0.0.1 "$clients" "$peers" &&
    start_apiserver 127.0.0.1 "$port" "http://127.0.0.1:$clients" --endpoint-reconciler-type none --disable-admission-plugins ServiceAccount; then
    break
  fi
  grep -q "address already in use" "$state"/log/{etcd,kube-apiserver}.log && [ "$try" -lt 3 ] || exit 1
  kill -9 "${pids[@]}" 2>/dev/null || true
  wait
  rm -rf "$state/etcd"
  parts=()
done
make_kubeconfig "$state/kubeconfig" "https://127.0.0.1:$port" "$state/pki" admin
"$assets/kubectl" --kubeconfig "$state/kubeconfig" apply -f "$here/manifests/namespace.yaml" >>"$state/log/kubectl.log" 2>&1
keeper_is_ready
keep owner_lives
