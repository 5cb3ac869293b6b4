//! A namespace of the test cluster, and the identity of a router in it.

use std::{path::Path, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use pod_manager::kubernetes::{
    KubernetesSettings,
    testing::{TestNamespace, kubeconfig},
};
use serde::Deserialize;
use serde_json::Value;

pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The user that the routers under test act as: it has the Role of `deploy/install.yaml` in each namespace,
/// and no other right.
const ROUTER: &str = "the-router-under-test";

/// A new namespace in the test cluster.
pub(crate) struct Cluster {
    /// The cluster's administrator: the test itself, and the simulated parts.
    pub(crate) client: Client,
    /// The client of a router.
    pub(crate) router: Client,
    pub(crate) settings: KubernetesSettings,
}

impl Cluster {
    /// Creates a namespace in the cluster of this kubeconfig, and gives the router its Role in it.
    pub(crate) async fn create(kubeconfig: &Path) -> Self {
        let TestNamespace { client, settings, .. } = {
            let namespace = TestNamespace::create(kubeconfig).await;
            namespace.grant(ROUTER, &chart_rules()).await;
            namespace
        };
        let router = Client::try_from(config(kubeconfig).await).expect("a client");
        let cluster = Self { client, router, settings };
        cluster.wait_granted().await;
        cluster
    }

    /// Waits until the API server knows of the Role.
    async fn wait_granted(&self) {
        let pods = Api::<Pod>::namespaced(self.router.clone(), &self.settings.namespace);
        let granted = async {
            while pods.list(&ListParams::default().limit(1)).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TEST_TIMEOUT, granted).await.expect("the Role is granted");
    }
}

/// The rules of the router's Role, as it is installed.
fn chart_rules() -> Value {
    let text = include_str!("../../../../../deploy/install.yaml");
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    let all = documents.filter_map(|document| Value::deserialize(document).ok());
    let role =
        all.into_iter().find(|object| object["kind"] == "Role").expect("deploy/install.yaml has a Role");
    role["rules"].clone()
}

/// Creates a namespace in the test cluster; `None` if there is none.
pub(crate) async fn cluster() -> Option<Cluster> {
    Some(Cluster::create(&kubeconfig()?).await)
}

/// Returns the client configuration of a router.
pub(crate) async fn config(kubeconfig: &Path) -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a configuration");
    config.auth_info.impersonate = Some(ROUTER.into());
    config
}
