//! Names, labels and annotations of a session's objects: those of the TypeScript router, so that either router finds
//! what the other made.

use std::{collections::BTreeMap, time::SystemTime};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use session_key::{Identity, SessionHash};

use super::super::settings::KubernetesSettings;
use crate::model::{Session, Source};

/// `app.kubernetes.io/managed-by` of everything here.
pub const MANAGED_BY: &str = "opencode-router";
/// The label that holds the session's hash.
pub const HASH_LABEL: &str = "opencode.ai/session-hash";
/// opencode's port in the Pod.
pub const PORT: u16 = 4096;

/// `opencode-session-<hash>`.
#[must_use]
pub fn pod_name(hash: SessionHash) -> String {
    format!("opencode-session-{hash}")
}

/// `opencode-pvc-<hash>`.
#[must_use]
pub fn pvc_name(hash: SessionHash) -> String {
    format!("opencode-pvc-{hash}")
}

/// `opencode-github-<hash>`: key `GITHUB_TOKEN`.
#[must_use]
pub fn github_secret_name(hash: SessionHash) -> String {
    format!("opencode-github-{hash}")
}

/// `opencode-server-<hash>`: key `OPENCODE_SERVER_PASSWORD`.
#[must_use]
pub fn server_secret_name(hash: SessionHash) -> String {
    format!("opencode-server-{hash}")
}

/// `opencode-user-<digest>`: the user's own keys, shared by their sessions.
#[must_use]
pub fn user_secret_name(who: &Identity) -> String {
    format!("opencode-user-{}", who.digest())
}

pub(super) fn labels(hash: SessionHash) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/managed-by".to_owned(), MANAGED_BY.to_owned()),
        (HASH_LABEL.to_owned(), hash.to_string()),
    ])
}

pub(super) fn metadata(
    name: String,
    session: &Session,
    settings: &KubernetesSettings,
    seen: Option<SystemTime>,
) -> ObjectMeta {
    let mut annotations = BTreeMap::from([
        (annotation("user-email"), session.owner.email().to_owned()),
        (annotation("created-at"), rfc3339(session.created_at)),
    ]);
    if let Source::Repository { url, branch, from } = &session.source {
        annotations.insert(annotation("repo-url"), url.to_string());
        annotations.insert(annotation("branch"), branch.to_string());
        annotations.extend(from.as_ref().map(|from| (annotation("source-branch"), from.to_string())));
    }
    annotations.extend(session.initial_message.clone().map(|text| (annotation("initial-message"), text)));
    annotations.extend(seen.map(|at| (annotation("last-activity"), rfc3339(at))));
    ObjectMeta {
        name: Some(name),
        namespace: Some(settings.namespace.clone()),
        labels: Some(labels(session.hash)),
        annotations: Some(annotations),
        ..Default::default()
    }
}

/// `opencode.ai/<key>`.
#[must_use]
pub fn annotation(key: &str) -> String {
    format!("opencode.ai/{key}")
}

/// Milliseconds and `Z`, as the TypeScript router writes it.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    Timestamp::try_from(at).map(|at| format!("{at:.3}")).unwrap_or_default()
}
