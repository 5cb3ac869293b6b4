//! The Secrets of a session: opencode's password, and what the session may use in its owner's name.
//!
//! | Secret | created by | removed with |
//! |---|---|---|
//! | `API_KEY_SECRET_NAME` | the operator | the operator |
//! | `opencode-user-<digest>` | the user, by the API | the user |
//! | `opencode-github-<hash>` | a start, from the token of its request | the session |
//! | `opencode-server-<hash>` | the controller | the session |
//!
//! The Pod names all of them, and the first three may be missing. The session's claim owns the last two, so
//! the cluster removes them with the claim, even if no router runs. No token is in an annotation or on the
//! volume: git asks a credential helper that reads the environment.

use k8s_openapi::{
    ByteString,
    api::core::v1::{PersistentVolumeClaim, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::Resource;
use session_key::Identity;

use super::{
    super::settings::KubernetesSettings,
    names::{github_secret_name, labels, server_secret_name, user_labels, user_secret_name},
};
use crate::{
    model::{Password, Session},
    user_secrets::StoredSecrets,
};

const PASSWORD_KEY: &str = "OPENCODE_SERVER_PASSWORD";
/// The key of the secret by which the session identifies itself to the router.
pub(crate) const POD_SECRET_KEY: &str = "OPENCODE_POD_SECRET";
/// The key of the token by which the router identifies itself to the session's agent.
pub(crate) const AGENT_TOKEN_KEY: &str = "OPENCODE_SESSION_AGENT_TOKEN";

/// Makes the Secret with the password that the router adds to each request, and what is derived from it.
#[must_use]
pub fn make_server_secret(session: &Session, settings: &KubernetesSettings, password: &Password) -> Secret {
    let name = server_secret_name(session.hash);
    let data = [
        (PASSWORD_KEY, password.expose()),
        (POD_SECRET_KEY, &password.pod_secret()),
        (AGENT_TOKEN_KEY, &password.agent_token()),
    ];
    secret(name, &data, session, settings)
}

/// Makes the Secret with the owner's GitHub token.
#[must_use]
pub fn make_github_secret(session: &Session, settings: &KubernetesSettings, token: &str) -> Secret {
    secret(github_secret_name(session.hash), &[("GITHUB_TOKEN", token)], session, settings)
}

/// Makes the Secret with a user's own secrets.
#[must_use]
pub(crate) fn make_user_secret(
    user: &Identity,
    settings: &KubernetesSettings,
    secrets: &StoredSecrets,
) -> Secret {
    let data = secrets.iter().map(|(name, value)| (name.clone(), ByteString(value.expose().to_vec())));
    Secret {
        metadata: ObjectMeta {
            name: Some(user_secret_name(user)),
            namespace: Some(settings.namespace.clone()),
            labels: Some(user_labels()),
            ..Default::default()
        },
        data: Some(data.collect()),
        type_: Some("Opaque".into()),
        ..Default::default()
    }
}

fn secret(name: String, data: &[(&str, &str)], session: &Session, settings: &KubernetesSettings) -> Secret {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
    Secret {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(settings.namespace.clone()),
            labels: Some(labels(session.hash)),
            ..Default::default()
        },
        data: Some(data.collect()),
        type_: Some("Opaque".into()),
        ..Default::default()
    }
}

/// Makes the claim the Secret's owner, so that the cluster removes the Secret with it. A claim without a
/// `uid` is not in the cluster, and owns nothing.
#[must_use]
pub fn owned_by(mut secret: Secret, pvc: &PersistentVolumeClaim) -> Secret {
    secret.metadata.owner_references = pvc.owner_ref(&()).map(|owner| vec![owner]);
    secret
}

/// Returns whether a server Secret lacks what is derived from its password: an earlier release made it.
pub(crate) fn lacks_pod_secret(secret: &Secret) -> bool {
    secret
        .data
        .as_ref()
        .is_none_or(|data| [POD_SECRET_KEY, AGENT_TOKEN_KEY].iter().any(|key| !data.contains_key(*key)))
}

/// Returns the password that a server Secret holds.
pub(crate) fn password_of(secret: &Secret) -> Option<Password> {
    let bytes = secret.data.as_ref()?.get(PASSWORD_KEY)?;
    Some(Password::new(std::str::from_utf8(&bytes.0).ok()?))
}
