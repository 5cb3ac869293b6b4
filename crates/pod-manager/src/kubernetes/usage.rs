//! Where sessions run and what they use, for administrators.

use std::collections::HashMap;

use session_key::SessionHash;

use super::context::Context;
use crate::backend::Usage;

impl Context {
    /// Returns the nodes of the watched Pods, and what their sessions use if the metrics API may be asked.
    pub(super) async fn usage(&self) -> HashMap<SessionHash, Usage> {
        let resources = if self.settings.pod_metrics {
            self.metrics.resources(&self.client, &self.settings.namespace).await
        } else {
            HashMap::new()
        };
        let with_usage = |(hash, node)| {
            let resources = resources.get(&hash).copied().unwrap_or_default();
            let (cpu_millicores, memory_bytes) = (resources.cpu_millicores, resources.memory_bytes);
            (hash, Usage { node: Some(node), cpu_millicores, memory_bytes })
        };
        self.store.nodes().into_iter().map(with_usage).collect()
    }
}
