//! Against the API server of a cluster to throw away, which `TEST_KUBECONFIG` names.

mod cluster;
mod contract;
mod credentials;
mod lease;
mod node;
mod patch;
