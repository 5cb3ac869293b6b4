#!/usr/bin/env bash
# Runs the cluster as the first process of its namespaces. Started by node.sh; $1 is the run's folder, $2 the
# folder with all programs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./common.sh
. ./pki.sh
. ./parts.sh
. ./node-config.sh
state=$1 assets=$2
echo "$assets" >"$state/assets"
export PATH=$assets:$PATH
address=10.77.0.1 node=node-1
cgroup=/opencode-cluster-$(basename "$state")

# Folders with fixed paths are private to this run, and nothing outside sees its mounts.
mount --make-rshared /
for place in var/lib/kubelet var/lib/cni var/log/pods var/log/containers run/containerd run/netns; do
  mkdir -p "$state/root/$place" "/$place"
  mount --bind "$state/root/$place" "/$place"
done

hostname "$node"
ip link set lo up
# Else each Pod's interface gets an IPv6 address here after a second or two. Chromium takes that for another
# network, and aborts what its pages load (ERR_NETWORK_CHANGED). Nothing here uses IPv6.
[ ! -e /proc/sys/net/ipv6 ] || echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
ip link add cluster type bridge
ip addr add "$address/24" dev cluster
ip link set cluster up
ip route add 10.96.0.0/16 dev cluster # Services: kube-proxy rewrites the destination to a Pod's address
echo 1 >/proc/sys/net/ipv4/ip_forward

pki=$state/pki
make_authority "$pki" 2>>"$state/log/openssl.log"
make_certificate "$pki" apiserver /CN=kube-apiserver "IP:127.0.0.1,IP:10.96.0.1,IP:$address,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc"
make_certificate "$pki" admin /O=system:masters/CN=admin
make_certificate "$pki" node "/O=system:nodes/CN=system:node:$node" "IP:$address,DNS:$node"
make_kubeconfig "$state/kubeconfig.inside" "https://$address:6443" "$pki" admin
make_kubeconfig "$state/kubeconfig.node" "https://$address:6443" "$pki" node
for part in kube-controller-manager kube-scheduler kube-proxy; do
  make_certificate "$pki" "$part" "/CN=system:$part"
  make_kubeconfig "$state/kubeconfig.$part" "https://$address:6443" "$pki" "$part"
done

# The node's half takes longer and does not depend on the other: it goes first.
write_node_config
start containerd containerd --config "$state/containerd.toml"
start_etcd 127.0.0.1 2379 2380
start_apiserver "$address" 6443 http://127.0.0.1:2379 --kubelet-preferred-address-types InternalIP \
  --kubelet-client-certificate "$pki/admin.crt" --kubelet-client-key "$pki/admin.key" --enable-admission-plugins NodeRestriction \
  --audit-policy-file "$here/lib/audit.yaml" --audit-log-path "$state/log/audit.log"
start kube-controller-manager kube-controller-manager --kubeconfig "$state/kubeconfig.kube-controller-manager" --leader-elect=false \
  --use-service-account-credentials --service-account-private-key-file "$pki/service-accounts.key" --root-ca-file "$pki/ca.crt"
start kube-scheduler kube-scheduler --kubeconfig "$state/kubeconfig.kube-scheduler" --leader-elect=false
await_part containerd 30 ctr --address "$socket" version
ctr --address "$socket" --namespace k8s.io images import --local "$cache/pause.tar" >/dev/null
export state
export -f guarded_kubelet
start kubelet unshare --mount --propagation unchanged bash -ec 'guarded_kubelet "$@"' kubelet --kubeconfig "$state/kubeconfig.node" --config "$state/kubelet.yaml" --hostname-override "$node" --node-ip "$address" --v="${KUBELET_V:-2}"
start kube-proxy kube-proxy --config "$state/kube-proxy.yaml" --hostname-override "$node"

export KUBECONFIG=$state/kubeconfig.inside
kubectl apply -f "$here/manifests" >>"$state/log/kubectl.log" 2>&1
volumes | kubectl create -f - >>"$state/log/kubectl.log" 2>&1
node_is_ready() { [ "$(kubectl get node "$node" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]; }
await_part kubelet 60 node_is_ready
has_account() { kubectl -n opencode get serviceaccount default; }
await_part kube-controller-manager 30 has_account
touch "$state/inside-ready"
keep true
