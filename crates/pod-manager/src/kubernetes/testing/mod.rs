//! For tests against a real API server: a namespace of the test cluster, and a node that is simulated.

mod simulated_node;
mod test_cluster;

pub use simulated_node::{SimulatedNode, now, pod_status};
pub use test_cluster::{TestNamespace, kubeconfig};
