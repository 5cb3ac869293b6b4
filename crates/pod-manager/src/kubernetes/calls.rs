//! The few calls to the API server, each bounded in time, and what it means that one is refused.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, LogParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::json;
use session_key::SessionHash;
use tokio::time::timeout;

use super::manifest::{annotation, github_secret_name, pod_name, pvc_name, server_secret_name};
use crate::{backend::BackendError, model::Password};

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("it is not there")]
    NotFound,
    #[error("one of that name is there")]
    Exists,
    /// It is not as it was seen, or is another one.
    #[error("it was changed meanwhile")]
    Conflict,
    /// Asking again does not help.
    #[error("the cluster refuses it: {0}")]
    Denied(String),
    #[error("the API server can't be reached: {0}")]
    Away(String),
}

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.is_already_exists() => Self::Exists,
            kube::Error::Api(status) if status.is_not_found() => Self::NotFound,
            kube::Error::Api(status) if status.is_conflict() => Self::Conflict,
            kube::Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 405 | 413 | 422) => {
                Self::Denied(status.message)
            }
            kube::Error::Api(status) => Self::Away(format!("{} {}", status.code, status.message)),
            other => Self::Away(words(&other)),
        }
    }
}

impl From<Refusal> for BackendError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound => Self::NotFound,
            Refusal::Denied(why) if why.contains("exceeded quota") => Self::DiskFull(why),
            Refusal::Denied(why) => Self::Storage(why),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// The innermost reason.
fn words(error: &dyn std::error::Error) -> String {
    let mut reason = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}

/// Bounds a call.
pub(super) async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Refusal> {
    match timeout(LIMIT, call).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Refusal::Away("it does not answer".into())),
    }
}

/// Calls in the sessions' namespace.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) pvcs: Api<PersistentVolumeClaim>,
    pub(super) pods: Api<Pod>,
    secrets: Api<Secret>,
}

impl Calls {
    pub(super) fn new(client: &Client, namespace: &str) -> Self {
        Self {
            pvcs: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
        }
    }

    pub(super) async fn pvc(&self, hash: SessionHash) -> Result<PersistentVolumeClaim, Refusal> {
        within(self.pvcs.get(&pvc_name(hash))).await
    }

    pub(super) async fn create_pvc(
        &self,
        pvc: &PersistentVolumeClaim,
    ) -> Result<PersistentVolumeClaim, Refusal> {
        within(self.pvcs.create(&PostParams::default(), pvc)).await
    }

    /// Changes annotations of the claim, unless it was changed since `version` was seen.
    pub(super) async fn annotate(
        &self,
        hash: SessionHash,
        version: Option<&str>,
        annotations: &[(&str, String)],
    ) -> Result<PersistentVolumeClaim, Refusal> {
        let all: BTreeMap<_, _> = annotations.iter().map(|(key, value)| (annotation(key), value)).collect();
        let mut patch = json!({ "metadata": { "annotations": all } });
        if let Some(version) = version {
            patch["metadata"]["resourceVersion"] = version.into();
        }
        let params = PatchParams::default();
        within(self.pvcs.patch(&pvc_name(hash), &params, &Patch::Merge(patch))).await
    }

    /// Deletes this claim and no other one. Gives it as it is, where it stays for a while.
    pub(super) async fn delete_pvc(
        &self,
        hash: SessionHash,
        uid: &str,
    ) -> Result<Option<PersistentVolumeClaim>, Refusal> {
        Ok(within(self.pvcs.delete(&pvc_name(hash), &exactly(uid))).await?.left())
    }

    pub(super) async fn pod(&self, hash: SessionHash) -> Result<Pod, Refusal> {
        within(self.pods.get(&pod_name(hash))).await
    }

    pub(super) async fn create_pod(&self, pod: &Pod) -> Result<Pod, Refusal> {
        within(self.pods.create(&PostParams::default(), pod)).await
    }

    /// Deletes this Pod and no other one. Gives it as it is, where it stays for a while.
    pub(super) async fn delete_pod(&self, hash: SessionHash, uid: &str) -> Result<Option<Pod>, Refusal> {
        Ok(within(self.pods.delete(&pod_name(hash), &exactly(uid))).await?.left())
    }

    pub(super) async fn server_secret(&self, hash: SessionHash) -> Result<Secret, Refusal> {
        within(self.secrets.get(&server_secret_name(hash))).await
    }

    pub(super) async fn create_secret(&self, secret: &Secret) -> Result<Secret, Refusal> {
        within(self.secrets.create(&PostParams::default(), secret)).await
    }

    pub(super) async fn delete_server_secret(&self, hash: SessionHash, uid: &str) -> Result<(), Refusal> {
        within(self.secrets.delete(&server_secret_name(hash), &exactly(uid))).await.map(drop)
    }

    pub(super) async fn delete_github_secret(&self, hash: SessionHash) -> Result<(), Refusal> {
        within(self.secrets.delete(&github_secret_name(hash), &DeleteParams::default())).await.map(drop)
    }

    /// The last lines that a container wrote; `previous`: before it was started again. `NotFound` where it did not start yet.
    pub(super) async fn log(
        &self,
        hash: SessionHash,
        container: &str,
        previous: bool,
        lines: usize,
    ) -> Result<String, Refusal> {
        let params = LogParams {
            container: Some(container.into()),
            previous,
            tail_lines: i64::try_from(lines).ok(),
            limit_bytes: Some(512 << 10),
            ..LogParams::default()
        };
        let log = async {
            match self.pods.logs(&pod_name(hash), &params).await {
                // The container did not start yet.
                Err(kube::Error::Api(status)) if status.code == 400 => Ok(None),
                log => log.map(Some),
            }
        };
        within(log).await?.ok_or(Refusal::NotFound)
    }
}

/// The password of a server Secret.
pub(super) fn password_of(secret: &Secret) -> Option<Password> {
    let bytes = secret.data.as_ref()?.get("OPENCODE_SERVER_PASSWORD")?;
    Some(Password::new(std::str::from_utf8(&bytes.0).ok()?))
}

fn exactly(uid: &str) -> DeleteParams {
    let preconditions = Preconditions { uid: Some(uid.into()), resource_version: None };
    DeleteParams::background().preconditions(preconditions)
}
