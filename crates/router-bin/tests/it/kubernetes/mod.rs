//! Whole routers over the API server of a disposable cluster, which `TEST_KUBECONFIG` names. The cluster has no node: a
//! simulated one reports what a kubelet would, and one server stands for the opencode of every session.

mod figures;
mod node;
mod replicas;
mod test_cluster;
