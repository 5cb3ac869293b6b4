use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use pod_manager::kubernetes::{KubernetesSettings, connect};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A namespace of one's own in it.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) settings: KubernetesSettings,
}

impl Cluster {
    /// A namespace of one's own in the cluster of this kubeconfig.
    pub(crate) async fn of(kubeconfig: &Path) -> Self {
        let connection = connect::connect(Some(kubeconfig.as_os_str()), None).await.expect("a connection");
        let client = connection.client;
        let name = format!("test-{:016x}", rand::random::<u64>());
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace");
        let settings =
            KubernetesSettings { namespace: name, ..KubernetesSettings::new("registry.example/session:1") };
        Self { client, settings }
    }
}

/// The cluster; `None`, after saying so, where there is none to test with.
pub(crate) async fn cluster() -> Option<Cluster> {
    Some(Cluster::of(&kubeconfig()?).await)
}

/// The kubeconfig of the cluster to test with; `None`, after saying so, where there is none.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "the convention by which tests are told of a cluster"
)]
pub(crate) fn kubeconfig() -> Option<PathBuf> {
    let there = std::env::var_os("TEST_KUBECONFIG").filter(|path| !path.is_empty());
    if there.is_none() {
        eprintln!("skipped: TEST_KUBECONFIG names no cluster to test with");
    }
    there.map(PathBuf::from)
}

/// How the cluster is reached.
pub(crate) async fn config(kubeconfig: &Path) -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a configuration")
}
