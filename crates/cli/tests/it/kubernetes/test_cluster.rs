//! A namespace of a real API server with sessions as a router creates them. No router and no kubelet is
//! running.

use std::path::PathBuf;

use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::{PersistentVolumeClaim, Pod, Secret},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::api::{Patch, PatchParams, PostParams};
use pod_manager::{
    Clock, SystemClock,
    kubernetes::{
        desired::{Desired, DesiredState},
        objects::{names, pod::make_pod, pvc::make_pvc, secret::make_github_secret},
        testing::{TestNamespace, now, pod_status},
    },
    model::{Session, Source},
};
use serde_json::{Value, json};
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};
use tokio::process::Command;

use crate::{REPO, Run, output};

/// A namespace of the test cluster.
pub(super) struct TestCluster {
    pub(super) namespace: TestNamespace,
    /// Holds the kubeconfigs of other users.
    folder: tempfile::TempDir,
}

impl TestCluster {
    /// Creates a namespace in the test cluster; `None` if there is no cluster.
    pub(super) async fn find() -> Option<Self> {
        let namespace = TestNamespace::find().await?;
        Some(Self { namespace, folder: tempfile::tempdir().expect("a folder") })
    }

    /// Returns the program, set to this namespace and an administrator's kubeconfig.
    pub(super) fn program(&self) -> Command {
        self.program_as(&self.namespace.kubeconfig)
    }

    pub(super) fn program_as(&self, kubeconfig: &std::path::Path) -> Command {
        let mut command = crate::program("http://127.0.0.1:9");
        command.env("KUBECONFIG", kubeconfig).env("OPENCODE_NAMESPACE", self.namespace.name());
        command
    }

    pub(super) async fn run(&self, args: &[&str]) -> Run {
        let mut command = self.program();
        command.args(args).arg("--kube");
        output(command).await
    }

    /// Creates a user with these rights only, and returns their kubeconfig.
    pub(super) async fn user_with_rules(&self, name: &str, rules: Value) -> PathBuf {
        self.namespace.grant(name, &rules).await;
        let text = std::fs::read_to_string(&self.namespace.kubeconfig).expect("a kubeconfig");
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
        let mut pvc = make_pvc(&session, &self.namespace.settings, session.created_at);
        pvc.metadata
            .annotations
            .get_or_insert_default()
            .insert(names::annotation("wanted"), desired.to_annotation());
        self.namespace
            .api::<PersistentVolumeClaim>()
            .create(&PostParams::default(), &pvc)
            .await
            .expect("a new object");
        let secret = make_github_secret(&session, &self.namespace.settings, "gho_secret");
        self.namespace.api::<Secret>().create(&PostParams::default(), &secret).await.expect("a new object");
        if let DesiredState::Running(run) = state {
            let mut pod = make_pod(&session, &self.namespace.settings, session.created_at);
            pod.metadata.annotations.get_or_insert_default().insert(names::annotation("run"), run);
            self.namespace.api::<Pod>().create(&PostParams::default(), &pod).await.expect("a new object");
            let terminated = json!({ "exitCode": 0, "startedAt": now(), "finishedAt": now() });
            let states = json!({
                "init": { "terminated": terminated },
                "opencode": { "running": { "startedAt": now() } },
                "ip": "10.9.9.9",
            });
            self.set_pod_status(session.hash, states).await;
        }
        session
    }

    /// Sets a Pod's status, as kubelet does; see [`pod_status`] for the states.
    pub(super) async fn set_pod_status(&self, hash: SessionHash, states: Value) {
        let patch = Patch::Merge(json!({ "status": pod_status(&states) }));
        let pods = self.namespace.api::<Pod>();
        pods.patch_status(&names::pod_name(hash), &PatchParams::default(), &patch).await.expect("a status");
    }

    pub(super) async fn pod(&self, hash: SessionHash) -> Option<Pod> {
        self.namespace.api::<Pod>().get_opt(&names::pod_name(hash)).await.expect("an answer")
    }

    pub(super) async fn pvc(&self, hash: SessionHash) -> Option<PersistentVolumeClaim> {
        self.namespace
            .api::<PersistentVolumeClaim>()
            .get_opt(&names::pvc_name(hash))
            .await
            .expect("an answer")
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
        let name = pod_manager::kubernetes::settings::LEASE_NAME.to_owned();
        let metadata = ObjectMeta { name: Some(name), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(spec) };
        self.namespace.api::<Lease>().create(&PostParams::default(), &lease).await.expect("a Lease");
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
        let pvcs = self.namespace.api::<PersistentVolumeClaim>();
        let patched = pvcs.patch(&names::pvc_name(hash), &PatchParams::default(), &patch).await;
        assert!(patched.is_ok() || self.pvc(hash).await.is_none(), "{patched:?}");
    }
}
