//! Whole routers over the API server of a disposable cluster, which `TEST_KUBECONFIG` names. The cluster has
//! no node: a simulated one runs the Pods, whose opencodes are fakes.

mod figures;
mod haproxy;
mod replicas;
mod rolling_restart;
mod test_cluster;
