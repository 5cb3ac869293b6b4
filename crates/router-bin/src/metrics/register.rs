//! Registration of a metric.

use prometheus_client::registry::{Metric, Registry};

/// Registers a metric that is zero.
pub(super) fn register<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}
