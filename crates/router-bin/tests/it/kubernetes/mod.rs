//! Whole routers over the API server of a disposable cluster, which `TEST_KUBECONFIG` names. The cluster has
//! no node: a simulated one runs the Pods, whose opencodes are fakes.

mod figures;
mod replicas;
mod test_cluster;
