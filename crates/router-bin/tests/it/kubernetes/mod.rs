//! Whole routers over the API server of a cluster to throw away, which `TEST_KUBECONFIG` names. It has no node: a
//! stand-in says of Pods what a kubelet would, and one server stands for every session's opencode.

mod figures;
mod house;
mod node;
mod replicas;
