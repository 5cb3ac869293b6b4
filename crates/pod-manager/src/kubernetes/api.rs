//! The few calls to the API server, each bounded in time, and what it means that one is refused.

use std::{collections::BTreeMap, time::Duration};

use futures_util::AsyncBufRead;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, LogParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::json;
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
const LIMIT: Duration = Duration::from_secs(10);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There is no such object.
    #[error("it is not there")]
    NotFound,
    /// An object of that name exists.
    #[error("one of that name is there")]
    AlreadyExists,
    /// It is not as it was seen, or is another one.
    #[error("it was changed meanwhile")]
    Conflict,
    /// Asking again does not help.
    #[error("the cluster refuses it: {0}")]
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
    fn from(refusal: ApiError) -> Self {
        match refusal {
            ApiError::NotFound => Self::NotFound,
            ApiError::Forbidden(why) if why.contains("exceeded quota") => Self::DiskFull(why),
            ApiError::Forbidden(why) => Self::Storage(why),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// Bounds a call.
pub(super) async fn with_timeout<T, E: Into<ApiError>>(
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, ApiError> {
    match timeout(LIMIT, call).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(ApiError::Unreachable("it does not answer".into())),
    }
}

/// ApiClient in the sessions' namespace.
#[derive(Clone)]
pub struct ApiClient {
    pub(super) pvcs: Api<PersistentVolumeClaim>,
    pub(super) pods: Api<Pod>,
    secrets: Api<Secret>,
}

impl ApiClient {
    /// Makes a client for this namespace. Nothing is asked yet.
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

    /// Changes annotations of the claim, unless it was changed since `version` was seen.
    pub(super) async fn annotate(
        &self,
        hash: SessionHash,
        version: Option<&str>,
        annotations: &[(&str, String)],
    ) -> Result<PersistentVolumeClaim, ApiError> {
        let all: BTreeMap<_, _> = annotations.iter().map(|(key, value)| (annotation(key), value)).collect();
        let mut patch = json!({ "metadata": { "annotations": all } });
        if let Some(version) = version {
            patch["metadata"]["resourceVersion"] = version.into();
        }
        let params = PatchParams::default();
        with_timeout(self.pvcs.patch(&pvc_name(hash), &params, &Patch::Merge(patch))).await
    }

    /// Deletes this claim and no other one. Gives it as it is, where it stays for a while.
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

    /// Deletes this Pod and no other one. Gives it as it is, where it stays for a while.
    pub(super) async fn delete_pod(&self, hash: SessionHash, uid: &str) -> Result<Option<Pod>, ApiError> {
        Ok(with_timeout(self.pods.delete(&pod_name(hash), &uid_precondition(uid))).await?.left())
    }

    pub(super) async fn server_secret(&self, hash: SessionHash) -> Result<Secret, ApiError> {
        with_timeout(self.secrets.get(&server_secret_name(hash))).await
    }

    pub(super) async fn create_secret(&self, secret: &Secret) -> Result<Secret, ApiError> {
        with_timeout(self.secrets.create(&PostParams::default(), secret)).await
    }

    /// Writes the owner's GitHub token down for the start at hand, in place of an older one. Call it before the Pod is made: a container's
    /// environment is read when it starts.
    ///
    /// Without a token nothing changes: a sign-in that gives none (a second way in, a program's request) is no reason to
    /// take from a session what it has. One that has run out is refused by GitHub, and goes with the session.
    ///
    /// # Errors
    /// Those of the API server. That the Secret is there already is none.
    pub async fn apply_github_secret(
        &self,
        settings: &KubernetesSettings,
        pvc: &PersistentVolumeClaim,
        session: &Session,
        credentials: &Credentials,
    ) -> Result<(), ApiError> {
        let Some(token) = &credentials.github_token else { return Ok(()) };
        let secret = owned_by(make_github_secret(session, settings, token.expose()), pvc);
        let name = github_secret_name(session.hash);
        let params = PatchParams::apply(MANAGED_BY).force();
        // Also over one that the TypeScript router made: it gets an owner with it.
        with_timeout(self.secrets.patch(&name, &params, &Patch::Apply(secret))).await.map(drop)
    }

    pub(super) async fn delete_server_secret(&self, hash: SessionHash, uid: &str) -> Result<(), ApiError> {
        with_timeout(self.secrets.delete(&server_secret_name(hash), &uid_precondition(uid))).await.map(drop)
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
