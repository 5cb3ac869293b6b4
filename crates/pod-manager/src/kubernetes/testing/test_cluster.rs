//! How tests find the cluster that they may use: `TEST_KUBECONFIG` names it.

use std::path::{Path, PathBuf};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::Namespace,
        rbac::v1::{Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, Resource, api::PostParams};
use serde_json::{Value, json};

use crate::kubernetes::{connect, settings::KubernetesSettings};

/// Returns the kubeconfig of the cluster to test with. Without one it returns `None`, and the test is to be
/// skipped, which is noted on standard error.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "the variable by which tests find the cluster"
)]
pub fn kubeconfig() -> Option<PathBuf> {
    let path = std::env::var_os("TEST_KUBECONFIG").filter(|path| !path.is_empty());
    if path.is_none() {
        eprintln!("skipped: TEST_KUBECONFIG is not set");
    }
    path.map(PathBuf::from)
}

/// A new namespace of the test cluster. It is not deleted: the cluster ends with the tests.
pub struct TestNamespace {
    /// The cluster administrator's client.
    pub client: Client,
    /// The settings of a backend in this namespace.
    pub settings: KubernetesSettings,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
}

impl TestNamespace {
    /// Creates a namespace in the test cluster; `None` if there is no cluster, see [`kubeconfig`].
    pub async fn find() -> Option<Self> {
        Some(Self::create(&kubeconfig()?).await)
    }

    /// Creates a namespace in the cluster of this kubeconfig.
    ///
    /// # Panics
    /// If the cluster can't be reached.
    pub async fn create(kubeconfig: &Path) -> Self {
        let connection = connect::connect(Some(kubeconfig.as_os_str()), None).await.expect("a connection");
        let client = connection.client;
        let name = format!("test-{:016x}", rand::random::<u64>());
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace");
        let settings =
            KubernetesSettings { namespace: name, ..KubernetesSettings::new("registry.example/session:1") };
        Self { client, settings, kubeconfig: kubeconfig.to_owned() }
    }

    /// Returns the namespace's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.namespace
    }

    /// Returns the administrator's API for one kind of object.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), self.name())
    }

    /// Creates a Role with these rules and binds a user to it; both have the user's name.
    ///
    /// # Panics
    /// If the rules are invalid or the API server refuses them.
    pub async fn grant(&self, user: &str, rules: &Value) {
        let role = json!({ "metadata": { "name": user }, "rules": rules });
        let role: Role = serde_json::from_value(role).expect("a Role");
        let binding = json!({
            "metadata": { "name": user },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user },
            "subjects": [{ "kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io" }],
        });
        let binding: RoleBinding = serde_json::from_value(binding).expect("a RoleBinding");
        let params = PostParams::default();
        self.api::<Role>().create(&params, &role).await.expect("a new Role");
        self.api::<RoleBinding>().create(&params, &binding).await.expect("a new RoleBinding");
    }
}
