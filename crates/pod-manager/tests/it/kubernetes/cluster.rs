use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::{
    api::{
        core::v1::{Namespace, Pod},
        rbac::v1::{Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Config,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use pod_manager::kubernetes::{KubernetesSettings, connect};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Whom the routers under test are: a user who has the Role of `deploy/install.yaml` in each namespace, and no other right.
const ROUTER: &str = "the-router-under-test";

/// A namespace of one's own in it.
pub(crate) struct Cluster {
    /// The cluster's administrator: the test itself, and the parts that are played.
    pub(crate) client: Client,
    /// A router.
    pub(crate) router: Client,
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
        let router = Client::try_from(config(kubeconfig).await).expect("a client");
        let settings =
            KubernetesSettings { namespace: name, ..KubernetesSettings::new("registry.example/session:1") };
        let cluster = Self { client, router, settings };
        cluster.grant().await;
        cluster
    }

    /// Gives the chart's Role to who is a router here.
    async fn grant(&self) {
        let namespace = &self.settings.namespace;
        let role: Role =
            serde_json::from_value(json!({ "metadata": { "name": ROUTER }, "rules": chart_rules() }))
                .expect("a Role");
        let binding: RoleBinding = serde_json::from_value(json!({
            "metadata": { "name": ROUTER },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ROUTER },
            "subjects": [{ "kind": "User", "name": ROUTER, "apiGroup": "rbac.authorization.k8s.io" }],
        }))
        .expect("a RoleBinding");
        let new = PostParams::default();
        Api::<Role>::namespaced(self.client.clone(), namespace).create(&new, &role).await.expect("a Role");
        Api::<RoleBinding>::namespaced(self.client.clone(), namespace)
            .create(&new, &binding)
            .await
            .expect("a RoleBinding");
        // The API server learns of it a moment later.
        let pods = Api::<Pod>::namespaced(self.router.clone(), namespace);
        let granted = async {
            while pods.list(&ListParams::default().limit(1)).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, granted).await.expect("the Role is granted");
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

/// How a router reaches the cluster.
pub(crate) async fn config(kubeconfig: &Path) -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("a configuration");
    config.auth_info.impersonate = Some(ROUTER.into());
    config
}
