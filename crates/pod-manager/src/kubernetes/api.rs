//! The calls of the API server, each bounded in time, and what it means if one fails.

use std::{collections::BTreeMap, time::Duration};

use futures_util::AsyncBufRead;
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{DeleteParams, LogParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Value, json};
use session_key::SessionHash;
use tokio::time::timeout;

use super::{
    objects::{
        names::{MANAGED_BY, annotation, github_secret_name, pod_name, pvc_name, server_secret_name},
        secret::{make_github_secret, owned_by},
    },
    settings::KubernetesSettings,
};
use crate::{
    backend::BackendError,
    innermost::innermost_message,
    model::{Credentials, Session},
};

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an update is tried that others were faster with.
pub(super) const MAX_ATTEMPTS: usize = 50;

/// Annotations to write: keys after `opencode.ai/`, and values. An empty value removes the annotation.
pub(super) type Annotations = Vec<(&'static str, String)>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There is no such object.
    #[error("there is no such object")]
    NotFound,
    /// An object of that name exists.
    #[error("an object of that name exists")]
    AlreadyExists,
    /// The object was changed since it was read, or is another one.
    #[error("the object was changed meanwhile")]
    Conflict,
    /// The API server refuses the call, and will refuse it again.
    #[error("the cluster refused it: {0}")]
    Forbidden(String),
    /// The API server does not answer, or not now.
    #[error("the API server can't be reached: {0}")]
    Unreachable(String),
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.is_already_exists() => Self::AlreadyExists,
            kube::Error::Api(status) if status.is_not_found() => Self::NotFound,
            kube::Error::Api(status) if status.is_conflict() => Self::Conflict,
            kube::Error::Api(status) if matches!(status.code, 400 | 401 | 403 | 405 | 413 | 422) => {
                Self::Forbidden(status.message)
            }
            kube::Error::Api(status) => Self::Unreachable(format!("{} {}", status.code, status.message)),
            other => Self::Unreachable(innermost_message(&other)),
        }
    }
}

impl From<ApiError> for BackendError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::NotFound => Self::NotFound,
            ApiError::Forbidden(reason) if reason.contains("exceeded quota") => Self::DiskFull(reason),
            ApiError::Forbidden(reason) => Self::Storage(reason),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// Runs a call for at most [`CALL_TIMEOUT`].
pub(super) async fn with_timeout<T, E: Into<ApiError>>(
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, ApiError> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(ApiError::Unreachable("it does not answer".into())),
    }
}

/// The result of an update of a claim.
pub(super) enum Update {
    /// The claim was changed; this is its new version.
    Written(Box<PersistentVolumeClaim>),
    /// There was nothing to change; this is the claim's current version.
    Unchanged(Box<PersistentVolumeClaim>),
    /// There is no such claim.
    Deleted,
}

/// Calls the API server for the objects of one namespace.
#[derive(Clone)]
pub struct ApiClient {
    pub(super) pvcs: Api<PersistentVolumeClaim>,
    pub(super) pods: Api<Pod>,
    secrets: Api<Secret>,
}

impl ApiClient {
    /// Creates a client for this namespace. It calls nothing yet.
    #[must_use]
    pub fn new(client: &Client, namespace: &str) -> Self {
        Self {
            pvcs: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
        }
    }

    pub(super) async fn pvc(&self, hash: SessionHash) -> Result<PersistentVolumeClaim, ApiError> {
        with_timeout(self.pvcs.get(&pvc_name(hash))).await
    }

    pub(super) async fn create_pvc(
        &self,
        pvc: &PersistentVolumeClaim,
    ) -> Result<PersistentVolumeClaim, ApiError> {
        with_timeout(self.pvcs.create(&PostParams::default(), pvc)).await
    }

    /// Writes annotations of the claim; with a `version`, only if the claim still has it.
    pub(super) async fn annotate(
        &self,
        hash: SessionHash,
        version: Option<&str>,
        annotations: &[(&str, String)],
    ) -> Result<PersistentVolumeClaim, ApiError> {
        let value = |text: &String| (!text.is_empty()).then(|| text.clone());
        let all: BTreeMap<_, _> =
            annotations.iter().map(|(key, text)| (annotation(key), value(text))).collect();
        let mut patch = json!({ "metadata": { "annotations": all } });
        if let Some(version) = version {
            patch["metadata"]["resourceVersion"] = version.into();
        }
        let params = PatchParams::default();
        with_timeout(self.pvcs.patch(&pvc_name(hash), &params, &Patch::Merge(patch))).await
    }

    /// Writes the annotations that `change` returns for the claim's current version, and tries again if
    /// somebody changed the claim in between (optimistic concurrency, as client-go's RetryOnConflict).
    /// `change` returns `None` to leave the claim as it is. `pvc` is the claim as far as it is known; without
    /// it, the claim is read first.
    ///
    /// # Errors
    /// That of `change`, or of a call; [`ApiError::Conflict`] if others were faster again and again.
    pub(super) async fn update_claim<E: From<ApiError>>(
        &self,
        hash: SessionHash,
        mut pvc: Option<PersistentVolumeClaim>,
        mut change: impl FnMut(&PersistentVolumeClaim) -> Result<Option<Annotations>, E>,
    ) -> Result<Update, E> {
        for _ in 0..MAX_ATTEMPTS {
            let current = match pvc.take() {
                Some(pvc) => pvc,
                None => match self.pvc(hash).await {
                    Ok(pvc) => pvc,
                    Err(ApiError::NotFound) => return Ok(Update::Deleted),
                    Err(error) => return Err(error.into()),
                },
            };
            let Some(annotations) = change(&current)? else { return Ok(Update::Unchanged(current.into())) };
            match self.annotate(hash, current.metadata.resource_version.as_deref(), &annotations).await {
                Ok(pvc) => return Ok(Update::Written(pvc.into())),
                Err(ApiError::Conflict) => {}
                Err(ApiError::NotFound) => return Ok(Update::Deleted),
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApiError::Conflict.into())
    }

    /// Deletes the claim with this UID. Returns it if it stays for a while.
    pub(super) async fn delete_pvc(
        &self,
        hash: SessionHash,
        uid: &str,
    ) -> Result<Option<PersistentVolumeClaim>, ApiError> {
        Ok(with_timeout(self.pvcs.delete(&pvc_name(hash), &uid_precondition(uid))).await?.left())
    }

    pub(super) async fn pod(&self, hash: SessionHash) -> Result<Pod, ApiError> {
        with_timeout(self.pods.get(&pod_name(hash))).await
    }

    pub(super) async fn create_pod(&self, pod: &Pod) -> Result<Pod, ApiError> {
        with_timeout(self.pods.create(&PostParams::default(), pod)).await
    }

    /// Deletes the Pod with this UID. Returns it if it stays for a while.
    pub(super) async fn delete_pod(&self, hash: SessionHash, uid: &str) -> Result<Option<Pod>, ApiError> {
        Ok(with_timeout(self.pods.delete(&pod_name(hash), &uid_precondition(uid))).await?.left())
    }

    pub(super) async fn server_secret(&self, hash: SessionHash) -> Result<Secret, ApiError> {
        with_timeout(self.secrets.get(&server_secret_name(hash))).await
    }

    pub(super) async fn secret(&self, name: &str) -> Result<Secret, ApiError> {
        with_timeout(self.secrets.get(name)).await
    }

    pub(super) async fn patch_secret(&self, name: &str, patch: Value) -> Result<(), ApiError> {
        let params = PatchParams::default();
        with_timeout(self.secrets.patch(name, &params, &Patch::Merge(patch))).await.map(drop)
    }

    /// Deletes this version of the Secret.
    pub(super) async fn delete_secret(&self, name: &str, secret: &Secret) -> Result<(), ApiError> {
        let ObjectMeta { uid, resource_version, .. } = secret.metadata.clone();
        let params = DeleteParams::default().preconditions(Preconditions { uid, resource_version });
        with_timeout(self.secrets.delete(name, &params)).await.map(drop)
    }

    pub(super) async fn create_secret(&self, secret: &Secret) -> Result<Secret, ApiError> {
        with_timeout(self.secrets.create(&PostParams::default(), secret)).await
    }

    pub(super) async fn delete_server_secret(&self, hash: SessionHash, uid: &str) -> Result<(), ApiError> {
        with_timeout(self.secrets.delete(&server_secret_name(hash), &uid_precondition(uid))).await.map(drop)
    }

    /// Writes the owner's GitHub token for a start, in place of an older one. It has to come before the Pod
    /// is created: a container's environment is read when it starts.
    ///
    /// Without a token, the Secret stays as it is: a sign-in that brings no token (another provider, a
    /// script) is no reason to take the session's. GitHub refuses a token that has expired, and the Secret is
    /// removed with the session.
    ///
    /// # Errors
    /// Those of the API server. It is no error if the Secret exists.
    pub async fn apply_github_secret(
        &self,
        settings: &KubernetesSettings,
        pvc: &PersistentVolumeClaim,
        session: &Session,
        credentials: &Credentials,
    ) -> Result<(), ApiError> {
        let Some(token) = &credentials.github_token else { return Ok(()) };
        let secret = owned_by(make_github_secret(session, settings, token.expose()), pvc);
        // It is also applied to a Secret of the TypeScript router, which gets an owner by it.
        self.apply_secret(&github_secret_name(session.hash), &secret).await
    }

    /// Writes this Secret, whoever wrote it before.
    pub(super) async fn apply_secret(&self, name: &str, secret: &Secret) -> Result<(), ApiError> {
        let params = PatchParams::apply(MANAGED_BY).force();
        with_timeout(self.secrets.patch(name, &params, &Patch::Apply(secret))).await.map(drop)
    }

    pub(super) async fn delete_github_secret(&self, hash: SessionHash) -> Result<(), ApiError> {
        with_timeout(self.secrets.delete(&github_secret_name(hash), &DeleteParams::default())).await.map(drop)
    }

    /// Opens the log of a container; [`ApiError::NotFound`] if the container has not started yet.
    pub(super) async fn log_stream(
        &self,
        hash: SessionHash,
        params: &LogParams,
    ) -> Result<impl AsyncBufRead + use<>, ApiError> {
        let open = async {
            match self.pods.log_stream(&pod_name(hash), params).await {
                // The container has not started yet.
                Err(kube::Error::Api(status)) if status.code == 400 => Err(ApiError::NotFound),
                log => Ok(log?),
            }
        };
        with_timeout(open).await
    }
}

fn uid_precondition(uid: &str) -> DeleteParams {
    let preconditions = Preconditions { uid: Some(uid.into()), resource_version: None };
    DeleteParams::background().preconditions(preconditions)
}
