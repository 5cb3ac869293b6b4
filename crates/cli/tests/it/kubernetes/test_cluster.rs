//! A namespace of a real API server with sessions as a router creates them. No router and no kubelet is
//! running.

use std::path::PathBuf;

use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::{Namespace, PersistentVolumeClaim, Pod, Secret},
        rbac::v1::{Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use pod_manager::{
    Clock, SystemClock,
    kubernetes::{
        KubernetesSettings, connect,
        desired::{Desired, DesiredState},
        objects::{names, pod::make_pod, pvc::make_pvc, secret::make_github_secret},
    },
    model::{Session, Source},
};
use serde_json::{Value, json};
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};
use tokio::process::Command;

use crate::{REPO, Run, output};

/// A namespace of the test cluster.
pub(super) struct TestCluster {
    pub(super) client: Client,
    pub(super) settings: KubernetesSettings,
    kubeconfig: PathBuf,
    /// Holds the kubeconfigs of other users.
    folder: tempfile::TempDir,
}

impl TestCluster {
    /// Creates a namespace in the test cluster. Returns none, with a note on standard error, if there is no
    /// cluster.
    #[expect(
        clippy::disallowed_methods,
        clippy::print_stderr,
        reason = "the variable by which tests find the cluster"
    )]
    pub(super) async fn find() -> Option<Self> {
        let Some(kubeconfig) = std::env::var_os("TEST_KUBECONFIG").filter(|path| !path.is_empty()) else {
            eprintln!("skipped: TEST_KUBECONFIG is not set");
            return None;
        };
        let client = connect::connect(Some(&kubeconfig), None).await.expect("a connection").client;
        let namespace = format!("test-{:016x}", rand::random::<u64>());
        let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
        let object = Namespace { metadata, ..Namespace::default() };
        Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &object)
            .await
            .expect("a namespace");
        let settings =
            KubernetesSettings { namespace, ..KubernetesSettings::new("registry.example/session:1") };
        let folder = tempfile::tempdir().expect("a folder");
        Some(Self { client, settings, kubeconfig: kubeconfig.into(), folder })
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.settings.namespace)
    }

    /// Returns the program, set to this namespace and an administrator's kubeconfig.
    pub(super) fn program(&self) -> Command {
        self.program_as(&self.kubeconfig)
    }

    pub(super) fn program_as(&self, kubeconfig: &std::path::Path) -> Command {
        let mut command = crate::program("http://127.0.0.1:9");
        command.env("KUBECONFIG", kubeconfig).env("OPENCODE_NAMESPACE", &self.settings.namespace);
        command
    }

    pub(super) async fn run(&self, args: &[&str]) -> Run {
        let mut command = self.program();
        command.args(args).arg("--kube");
        output(command).await
    }

    /// Creates a user with these rights only, and returns their kubeconfig.
    pub(super) async fn user_with_rules(&self, name: &str, rules: Value) -> PathBuf {
        let role = json!({ "metadata": { "name": name }, "rules": rules });
        let role: Role = serde_json::from_value(role).expect("a Role");
        self.api::<Role>().create(&PostParams::default(), &role).await.expect("a new object");
        let binding = json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
            "subjects": [{ "kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io" }],
        });
        let binding: RoleBinding = serde_json::from_value(binding).expect("a RoleBinding");
        self.api::<RoleBinding>().create(&PostParams::default(), &binding).await.expect("a new object");
        let text = std::fs::read_to_string(&self.kubeconfig).expect("a kubeconfig");
        let mut config: Value = serde_yaml_ng::from_str(&text).expect("a kubeconfig");
        for user in config["users"].as_array_mut().expect("users") {
            user["user"]["as"] = name.into();
        }
        let path = self.folder.path().join(name);
        std::fs::write(&path, config.to_string()).expect("a file");
        path
    }

    /// Creates a session's objects as a router does, with a running Pod if it is to run.
    pub(super) async fn create_session(&self, owner: &str, branch: &str, state: DesiredState) -> Session {
        let owner = Identity::parse(owner).expect("an address");
        let url = RepoUrl::parse(REPO, RepoPolicy::default()).expect("a repository");
        let branch = GitRef::parse(branch).expect("a branch");
        let session = Session {
            hash: SessionHash::of(&owner, &url, &branch),
            owner,
            source: Source::Repository { url, branch, from: None },
            initial_message: Some("Fix it.".into()),
            created_at: SystemClock.now(),
        };
        let desired = Desired { state: state.clone(), since: Some(SystemClock.now()) };
        let mut pvc = make_pvc(&session, &self.settings, session.created_at);
        pvc.metadata.annotations.get_or_insert_default().insert(names::annotation("wanted"), desired.write());
        self.api::<PersistentVolumeClaim>().create(&PostParams::default(), &pvc).await.expect("a new object");
        let secret = make_github_secret(&session, &self.settings, "gho_secret");
        self.api::<Secret>().create(&PostParams::default(), &secret).await.expect("a new object");
        if let DesiredState::Running(run) = state {
            let mut pod = make_pod(&session, &self.settings, session.created_at);
            pod.metadata.annotations.get_or_insert_default().insert(names::annotation("run"), run);
            self.api::<Pod>().create(&PostParams::default(), &pod).await.expect("a new object");
            self.set_running(session.hash).await;
        }
        session
    }

    /// Sets the status that kubelet reports for a running Pod.
    async fn set_running(&self, hash: SessionHash) {
        let at = "2026-11-25T10:00:00Z";
        let terminated = json!({ "terminated": { "exitCode": 0, "startedAt": at, "finishedAt": at } });
        let status = json!({
            "phase": "Running", "podIP": "10.9.9.9",
            "initContainerStatuses": [container_status("git-init", &terminated)],
            "containerStatuses": [container_status("opencode", &json!({ "running": { "startedAt": at } }))],
        });
        self.set_pod_status(hash, status).await;
    }

    /// Sets a Pod's status, as kubelet does.
    pub(super) async fn set_pod_status(&self, hash: SessionHash, status: Value) {
        let pods = self.api::<Pod>();
        let patch = Patch::Merge(json!({ "status": status }));
        pods.patch_status(&names::pod_name(hash), &PatchParams::default(), &patch).await.expect("a status");
    }

    pub(super) async fn pod(&self, hash: SessionHash) -> Option<Pod> {
        self.api::<Pod>().get_opt(&names::pod_name(hash)).await.expect("an answer")
    }

    pub(super) async fn pvc(&self, hash: SessionHash) -> Option<PersistentVolumeClaim> {
        self.api::<PersistentVolumeClaim>().get_opt(&names::pvc_name(hash)).await.expect("an answer")
    }

    /// Returns the desired state that is stored on the claim.
    pub(super) async fn desired_state(&self, hash: SessionHash) -> DesiredState {
        Desired::of(&self.pvc(hash).await.expect("a claim"), None).state
    }

    /// Creates the Lease of a running router.
    pub(super) async fn create_lease(&self) {
        let now = k8s_openapi::jiff::Timestamp::now();
        let spec = LeaseSpec {
            holder_identity: Some("a-router".into()),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        };
        let name = pod_manager::kubernetes::leader::NAME.to_owned();
        let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(spec) };
        self.api::<Lease>().create(&PostParams::default(), &lease).await.expect("a Lease");
    }

    /// Waits until the claim is being deleted and its Pod is gone, then removes the claim's finalizers, as
    /// the PersistentVolumeClaim protection controller does.
    pub(super) async fn finalize_claim(&self, hash: SessionHash) {
        crate::soon(async {
            let is_deleting = |pvc: PersistentVolumeClaim| pvc.metadata.deletion_timestamp.is_some();
            while !self.pvc(hash).await.is_none_or(is_deleting) || self.pod(hash).await.is_some() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let patch = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        let pvcs = self.api::<PersistentVolumeClaim>();
        let patched = pvcs.patch(&names::pvc_name(hash), &PatchParams::default(), &patch).await;
        assert!(patched.is_ok() || self.pvc(hash).await.is_none(), "{patched:?}");
    }
}

/// Returns a container's status as kubelet reports it.
pub(super) fn container_status(name: &str, state: &Value) -> Value {
    let ready = state.get("running").is_some() || state["terminated"]["exitCode"] == 0;
    json!({ "name": name, "image": "i", "imageID": "i", "ready": ready, "restartCount": 0, "state": state })
}
