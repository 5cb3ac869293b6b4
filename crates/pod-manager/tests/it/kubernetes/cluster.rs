use std::time::Duration;

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

/// The cluster; `None`, after saying so, where there is none to test with.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "the convention by which tests are told of a cluster"
)]
pub(crate) async fn cluster() -> Option<Cluster> {
    let Some(kubeconfig) = std::env::var_os("TEST_KUBECONFIG").filter(|path| !path.is_empty()) else {
        eprintln!("skipped: TEST_KUBECONFIG names no cluster to test with");
        return None;
    };
    let (client, _) = connect::client(Some(&kubeconfig)).await.expect("a client");
    let name = format!("test-{:016x}", rand::random::<u64>());
    let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace");
    let settings =
        KubernetesSettings { namespace: name, ..KubernetesSettings::new("registry.example/session:1") };
    Some(Cluster { client, settings })
}

/// How the cluster is reached; `None` where there is none.
#[expect(clippy::disallowed_methods, reason = "the convention by which tests are told of a cluster")]
pub(crate) async fn config() -> Option<Config> {
    let path = std::env::var_os("TEST_KUBECONFIG").filter(|path| !path.is_empty())?;
    let kubeconfig = Kubeconfig::read_from(path).expect("a kubeconfig");
    Some(
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("a configuration"),
    )
}
