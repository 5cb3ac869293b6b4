//! A namespace of the test cluster, with Traefik's IngressRoutes, and claims as the router writes them.

use std::{path::PathBuf, sync::OnceLock, time::Duration};

use cloudflare_operator::{
    routes::resource,
    testing::{Seed, Server, StandIn},
};
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, ServiceAccount},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::DynamicObject,
};
use pod_manager::kubernetes::testing::TestNamespace;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// How long a test waits for something that happens.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

/// Traefik's CRD.
const CRD: &str = include_str!("ingressroutes.yaml");

/// A namespace with a stand-in for Cloudflare.
pub(super) struct Cluster {
    pub(super) namespace: TestNamespace,
    pub(super) stand_in: StandIn,
    pub(super) server: Server,
}

impl Cluster {
    /// Returns a new namespace; `None` without a cluster.
    pub(super) async fn find() -> Option<Self> {
        Self::with_seed(Seed::default()).await
    }

    pub(super) async fn with_seed(seed: Seed) -> Option<Self> {
        let namespace = TestNamespace::find().await?;
        let crds: Api<CustomResourceDefinition> = Api::all(namespace.client.clone());
        let crd: Value = serde_yaml_ng::from_str(CRD).expect("YAML");
        let params = PatchParams::apply("test").force();
        crds.patch("ingressroutes.traefik.io", &params, &Patch::Apply(crd)).await.expect("the CRD");
        let stand_in = StandIn::new(seed);
        let server = Server::start(stand_in.clone(), ([127, 0, 0, 1], 0).into()).await.expect("a port");
        let cluster = Self { namespace, stand_in, server };
        cluster.wait("IngressRoutes are served", async || cluster.routes_list().await.is_ok()).await;
        Some(cluster)
    }

    pub(super) fn claims(&self) -> Api<PersistentVolumeClaim> {
        self.namespace.api()
    }

    pub(super) fn routes(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.namespace.client.clone(), self.namespace.name(), &resource())
    }

    async fn routes_list(&self) -> kube::Result<Vec<DynamicObject>> {
        self.routes().list(&ListParams::default()).await.map(|list| list.items)
    }

    /// Returns the names of all IngressRoutes.
    pub(super) async fn route_names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.routes_list().await.expect("a list").iter().map(ResourceExt::name_any).collect();
        names.sort();
        names
    }

    /// Creates the claim of a session; returns its hash.
    pub(super) async fn create_session(&self, number: u64) -> String {
        let hash = format!("{number:012x}");
        let claim = json!({
            "metadata": {
                "name": format!("opencode-pvc-{hash}"),
                "labels": {
                    "app.kubernetes.io/managed-by": "opencode-router",
                    "opencode.ai/session-hash": hash,
                },
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": "1Gi" } },
            },
        });
        let claim = serde_json::from_value(claim).expect("a claim");
        self.claims().create(&PostParams::default(), &claim).await.expect("a new claim");
        hash
    }

    /// Deletes the claim of a session, as the router does.
    pub(super) async fn delete_session(&self, hash: &str) {
        let name = format!("opencode-pvc-{hash}");
        self.claims().delete(&name, &DeleteParams::default()).await.expect("a claim");
        // No controller that protects claims runs here.
        let remove = json!({ "metadata": { "finalizers": null } });
        let params = PatchParams::default();
        let _gone = self.claims().patch(&name, &params, &Patch::Merge(remove)).await;
    }

    pub(super) async fn route(&self, name: &str) -> Option<DynamicObject> {
        self.routes().get_opt(name).await.expect("an answer")
    }

    /// Waits until something holds.
    pub(super) async fn wait(&self, goal: &str, holds: impl AsyncFn() -> bool) {
        let started = Instant::now();
        while !holds().await {
            assert!(started.elapsed() < TIMEOUT, "{goal}: not within {TIMEOUT:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the IngressRoutes are these.
    pub(super) async fn wait_routes(&self, names: &[String]) {
        let mut names = names.to_vec();
        names.sort();
        self.wait(&format!("IngressRoutes {names:?}"), async || self.route_names().await == names).await;
    }

    /// Waits until the DNS records, and the tunnel's rules with a host name, are these, in any order.
    pub(super) async fn wait_hosts(&self, hosts: &[String]) {
        let mut hosts = hosts.to_vec();
        hosts.sort();
        let started = Instant::now();
        while (self.record_names(), self.rule_hosts()) != (hosts.clone(), hosts.clone()) {
            assert!(
                started.elapsed() < TIMEOUT,
                "records {:?}, rules {:?}; expected {hosts:?}",
                self.record_names(),
                self.rule_hosts()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns the names of all DNS records.
    pub(super) fn record_names(&self) -> Vec<String> {
        let records = self.stand_in.with(|model| model.records());
        let name = |record: &Value| record["name"].as_str().expect("a name").to_owned();
        let mut names: Vec<String> = records.iter().map(name).collect();
        names.sort();
        names
    }

    /// Returns the host names of all rules of the tunnel.
    pub(super) fn rule_hosts(&self) -> Vec<String> {
        let config = self.stand_in.with(|model| model.config().clone());
        let rules = config["ingress"].as_array().cloned().unwrap_or_default();
        let mut hosts: Vec<String> =
            rules.iter().filter_map(|rule| rule["hostname"].as_str()).map(str::to_owned).collect();
        hosts.sort();
        hosts
    }

    /// Creates a service account with the Role of the chart; returns a kubeconfig with its token.
    pub(super) async fn account_of_chart(&self) -> PathBuf {
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/chart/templates/operator.yaml");
        let chart = std::fs::read_to_string(chart).expect("the chart");
        let (_, rules) = chart.split_once("\nrules:\n").expect("the Role");
        let (rules, _) = rules.split_once("\n---\n").expect("its end");
        self.account_with(&serde_yaml_ng::from_str(rules).expect("rules")).await
    }

    /// Creates a service account with these rights; returns a kubeconfig with its token.
    pub(super) async fn account_with(&self, rules: &Value) -> PathBuf {
        let accounts: Api<ServiceAccount> = self.namespace.api();
        let account = serde_json::from_value(json!({ "metadata": { "name": "operator" } })).expect("JSON");
        accounts.create(&PostParams::default(), &account).await.expect("an account");
        self.namespace
            .grant(&format!("system:serviceaccount:{}:operator", self.namespace.name()), rules)
            .await;
        let request = serde_json::from_value(json!({ "spec": { "audiences": [] } })).expect("a request");
        let token = accounts.create_token_request("operator", &PostParams::default(), &request).await;
        let token = token.expect("a token").status.expect("a status").token;
        let text = std::fs::read_to_string(&self.namespace.kubeconfig).expect("a kubeconfig");
        let mut config: Value = serde_yaml_ng::from_str(&text).expect("YAML");
        for user in config["users"].as_array_mut().expect("users") {
            user["user"] = json!({ "token": token });
        }
        let path = scratch().join(format!("{}.kubeconfig", self.namespace.name()));
        std::fs::write(&path, config.to_string()).expect("a file");
        path
    }
}

/// Returns a folder that ends with the tests.
fn scratch() -> &'static std::path::Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().expect("a folder")).path()
}

/// Returns the names of a session's IngressRoutes.
pub(super) fn routes_of(hash: &str) -> Vec<String> {
    vec![
        format!("opencode-session-{hash}-oc-signin"),
        format!("opencode-session-{hash}-oc-app"),
        format!("opencode-session-attach-{hash}-oc-attach"),
    ]
}

/// Returns a session's hosts that have a record.
pub(super) fn hosts_of(hash: &str) -> Vec<String> {
    vec![format!("{hash}-oc.example.org"), format!("attach-{hash}-oc.example.org")]
}
