//! The backend contract, against a real API server with a simulated node.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use kube::api::ListParams;
use pod_manager::{
    KubernetesBackend, SessionBackend, SystemClock,
    contract::{Harness, session_of},
    kubernetes::testing::SimulatedNode,
    model::Session,
};
use session_key::{Identity, RepoPolicy, SessionHash};
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, cluster};

/// A namespace with a simulated node.
pub(crate) struct TestCluster {
    pub(crate) cluster: Cluster,
    pub(crate) node: Arc<SimulatedNode>,
}

impl TestCluster {
    /// Returns `None` without a test cluster.
    pub(crate) async fn new() -> Option<Self> {
        Some(Self::on(cluster().await?))
    }

    pub(crate) fn on(cluster: Cluster) -> Self {
        let node = SimulatedNode::start(cluster.client.clone(), &cluster.settings.namespace);
        Self { cluster, node }
    }

    pub(crate) fn backend(&self) -> Arc<KubernetesBackend> {
        let mut settings = self.cluster.settings.clone();
        settings.identity = format!("router-{:016x}", rand::random::<u64>());
        KubernetesBackend::start_up(self.cluster.router.clone(), settings, Arc::new(SystemClock))
    }

    pub(crate) fn session(&self) -> Session {
        session_of("https://git.example.com/acme/widgets", RepoPolicy::default())
    }

    /// Returns how many objects the session has: claims, Pods, Secrets.
    pub(crate) async fn objects(&self, hash: SessionHash) -> [usize; 3] {
        let of = ListParams::default().labels(&format!("opencode.ai/session-hash={hash}"));
        [
            self.node.pvcs().list(&of).await.expect("claims").items.len(),
            self.node.pods().list(&of).await.expect("pods").items.len(),
            self.node.secrets().list(&of).await.expect("secrets").items.len(),
        ]
    }
}

#[async_trait]
impl Harness for TestCluster {
    async fn open(&self) -> Arc<dyn SessionBackend> {
        self.backend()
    }

    async fn startable(&self) -> Session {
        self.session()
    }

    async fn failing(&self) -> Session {
        let session = self.session();
        self.node.fail_clones(session.hash, true);
        session
    }

    async fn repair(&self, session: &Session) {
        self.node.fail_clones(session.hash, false);
    }

    async fn processes(&self, hash: SessionHash) -> Option<usize> {
        assert!(self.node.max_process_count(hash) <= 1, "there were two at once");
        Some(self.node.process_count(hash))
    }

    async fn secrets(&self, user: &Identity) -> BTreeMap<String, Vec<u8>> {
        let name = format!("opencode-user-{}", user.digest());
        let secret = self.node.secrets().get_opt(&name).await.expect("an answer").unwrap_or_default();
        secret.data.into_iter().flatten().map(|(name, value)| (name, value.0)).collect()
    }

    async fn stored(&self, hash: SessionHash) -> bool {
        let begun = Instant::now();
        loop {
            match self.objects(hash).await {
                [0, 0, 0] => return false,
                // The cluster removes the objects that a claim owned after the claim.
                [0, 0, _] if begun.elapsed() < Duration::from_secs(10) => {
                    sleep(Duration::from_millis(20)).await;
                }
                _ => return true,
            }
        }
    }
}

pod_manager::backend_contract!(match TestCluster::new().await {
    Some(test) => test,
    None => return,
});
