//! What a session may use in its owner's name, as Secrets that its Pod takes into its environment.
//!
//! | Secret | made by | gone with |
//! |---|---|---|
//! | `API_KEY_SECRET_NAME` | the operator | the operator |
//! | `opencode-user-<digest>` | the user, by the site | the user |
//! | `opencode-github-<hash>` | [`write()`], from the token of the request that starts the session | the session |
//!
//! The first two are only named by the Pod, and may be missing. The third is owned by the session's claim, so that the
//! cluster removes it with the claim also where the router does not come to it. Nothing of it is in an annotation, and nothing
//! is written to the volume: git asks a helper that reads the environment.

use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Secret},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};

use super::{
    manifest::{self, MANAGED_BY},
    settings::KubernetesSettings,
};
use crate::model::{Credentials, Session};

/// Writes the owner's GitHub token down for the start at hand, in place of an older one. Call it before the Pod is made: a container's
/// environment is read when it starts.
///
/// Without a token nothing changes: a sign-in that gives none (a second way in, a program's request) is no reason to
/// take from a session what it has. One that has run out is refused by GitHub, and goes with the session.
///
/// # Errors
/// Those of the API server. That the Secret is there already is none.
pub async fn write(
    client: &Client,
    settings: &KubernetesSettings,
    pvc: &PersistentVolumeClaim,
    session: &Session,
    credentials: &Credentials,
) -> Result<(), kube::Error> {
    let Some(token) = &credentials.github_token else { return Ok(()) };
    let secret = owned(manifest::github_secret(session, settings, token.expose()), pvc);
    let name = manifest::github_secret_name(session.hash);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &settings.namespace);
    // Also over one that the TypeScript router made: it gets an owner with it.
    secrets.patch(&name, &PatchParams::apply(MANAGED_BY).force(), &Patch::Apply(secret)).await?;
    Ok(())
}

/// The Secret, to be removed with the claim. A claim that has no `uid` is none of the cluster's, and owns nothing.
#[must_use]
pub fn owned(mut secret: Secret, pvc: &PersistentVolumeClaim) -> Secret {
    let (name, uid) = (pvc.metadata.name.clone(), pvc.metadata.uid.clone());
    secret.metadata.owner_references = name.zip(uid).map(|(name, uid)| {
        vec![OwnerReference {
            api_version: "v1".into(),
            kind: "PersistentVolumeClaim".into(),
            name,
            uid,
            ..OwnerReference::default()
        }]
    });
    secret
}
