//! Names, labels and annotations of a session's objects: those of the TypeScript router, so that either
//! router finds what the other made.

use std::{collections::BTreeMap, time::SystemTime};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use session_key::{Identity, SessionHash};

use super::super::settings::KubernetesSettings;
use crate::model::{Session, Source};

/// The value of `app.kubernetes.io/managed-by` on all objects of sessions.
pub const MANAGED_BY: &str = "opencode-router";
/// What the keys of the router's own labels and annotations begin with.
pub(crate) const PREFIX: &str = "opencode.ai/";
/// The label that holds the session's hash.
pub const HASH_LABEL: &str = "opencode.ai/session-hash";
/// The port of opencode in the Pod.
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

/// Returns the labels of a user's Secret, which belongs to no session.
pub(crate) fn user_labels() -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/managed-by".to_owned(), MANAGED_BY.to_owned()),
        ("app.kubernetes.io/component".to_owned(), "user-secrets".to_owned()),
    ])
}

/// Returns the labels of a session's objects.
pub(super) fn labels(hash: SessionHash) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/managed-by".to_owned(), MANAGED_BY.to_owned()),
        (HASH_LABEL.to_owned(), hash.to_string()),
    ])
}

/// Returns the metadata of a claim or a Pod.
pub(super) fn metadata(
    name: String,
    session: &Session,
    settings: &KubernetesSettings,
    last_activity: SystemTime,
) -> ObjectMeta {
    let mut annotations = BTreeMap::from([
        (annotation("user-email"), session.owner.email().to_owned()),
        (annotation("created-at"), rfc3339(session.created_at)),
        (annotation("last-activity"), rfc3339(last_activity)),
    ]);
    if let Source::Repository { url, branch, from } = &session.source {
        annotations.insert(annotation("repo-url"), url.to_string());
        annotations.insert(annotation("branch"), branch.to_string());
        annotations.extend(from.as_ref().map(|from| (annotation("source-branch"), from.to_string())));
    }
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
    format!("{PREFIX}{key}")
}

/// Formats a time with milliseconds and `Z`, as the TypeScript router does.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    Timestamp::try_from(at).map(|at| format!("{at:.3}")).unwrap_or_default()
}
