# The configuration of the node's programs. Sourced by inside.sh, whose variables it uses.

socket=/run/containerd/containerd.sock

# Runs kubelet with the given arguments. kubelet sets kernel settings of the whole machine, which no namespace
# contains. So files that already hold the desired values are mounted over them, and the machine's settings
# stay. Only kubelet sees these mounts (everybody sees the ones it makes itself): while something is mounted
# over a part of /proc, the kernel refuses a user namespace its own /proc, and Pods with a user namespace
# would not start.
guarded_kubelet() {
  local one
  mount --make-private /proc
  mkdir -p "$state/settings"
  for one in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    [ -e "/proc/sys/${one%=*}" ] || continue
    echo "${one#*=}" >"$state/settings/$(basename "${one%=*}")"
    mount --bind "$state/settings/$(basename "${one%=*}")" "/proc/sys/${one%=*}"
  done
  exec kubelet "$@"
}

write_node_config() {
  make_cgroup
  echo "nameserver 10.96.0.10" >"$state/resolv.conf" # nothing answers there: names of Services are not resolved
  cat >"$state/containerd.toml" <<END
version = 3
root = "$state/containerd"
state = "/run/containerd"
[grpc]
address = "$socket"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
BinaryName = "$assets/runc"
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["$assets"]
conf_dir = "$state/cni"
END
  mkdir -p "$state/cni"
  cat >"$state/cni/10-pods.conflist" <<'END'
{ "cniVersion": "1.0.0", "name": "pods", "plugins": [{
    "type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true,
    "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.244.0.0/16" }]], "routes": [{ "dst": "0.0.0.0/0" }] }
}] }
END
  cat >"$state/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: $pki/ca.crt } }
authorization: { mode: Webhook }
tlsCertFile: $pki/node.crt
tlsPrivateKeyFile: $pki/node.key
containerRuntimeEndpoint: unix://$socket
cgroupDriver: cgroupfs
cgroupRoot: $cgroup
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
clusterDomain: cluster.local
clusterDNS: [10.96.0.10]
resolvConf: $state/resolv.conf
# A full disk of the machine must not evict the tests' Pods or collect their images.
evictionHard: { nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%" }
imageGCHighThresholdPercent: 100
# Faster cycles than on a real node.
syncFrequency: 10s
nodeStatusUpdateFrequency: 4s
registryPullQPS: 0
kubeAPIQPS: 200
kubeAPIBurst: 400
END
  cat >"$state/kube-proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: { kubeconfig: $state/kubeconfig.kube-proxy }
clusterCIDR: 10.244.0.0/16
conntrack: { maxPerCore: 0, min: 0 }
END
}

# Creates a control group for this run in each hierarchy, so that two clusters never share one.
make_cgroup() {
  local top
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    sed 's/\([^ ]*\)/+\1/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
    mkdir -p "/sys/fs/cgroup$cgroup"
    return
  fi
  for top in /sys/fs/cgroup/*/; do mkdir -p "${top%/}$cgroup"; done
}

# Offers folders of this node as volumes. `local` volumes honour a Pod's fsGroup; hostPath volumes do not.
volumes() {
  local i
  for i in $(seq -w 40); do
    mkdir -p "$state/volumes/$i"
    cat <<END
---
apiVersion: v1
kind: PersistentVolume
metadata: { name: local-$i }
spec:
  capacity: { storage: 20Gi }
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: local
  local: { path: $state/volumes/$i }
  nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [{ key: kubernetes.io/hostname, operator: In, values: [$node] }] }] } }
END
  done
}
