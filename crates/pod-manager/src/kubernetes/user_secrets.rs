//! Users' secrets: one Secret per user, which every Pod of theirs names. Secrets of the TypeScript router are
//! adopted: the first change labels them.

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Map, Value, json};
use session_key::Identity;

use super::{
    api::{ApiError, MAX_ATTEMPTS},
    backend::KubernetesBackend,
    context::Context,
    objects::{
        names::{user_labels, user_secret_name},
        secret::make_user_secret,
    },
};
use crate::{
    backend::BackendError,
    user_secrets::{self, SecretValue, SecretsChange, SecretsError, StoredSecrets, UserSecrets},
};

#[async_trait]
impl UserSecrets for KubernetesBackend {
    async fn names(&self, user: &Identity) -> Result<Vec<String>, SecretsError> {
        match self.context().api.secret(&user_secret_name(user)).await {
            Ok(secret) => Ok(user_secrets::names(&stored(secret))),
            Err(ApiError::NotFound) => Ok(Vec::new()),
            Err(error) => Err(BackendError::from(error).into()),
        }
    }

    async fn change(&self, user: &Identity, change: SecretsChange) -> Result<Vec<String>, SecretsError> {
        let after = self.context().change_secrets(user, &change).await?;
        Ok(user_secrets::names(&after))
    }
}

impl Context {
    /// Applies the change to the Secret's current version, and tries again if somebody changed the Secret in
    /// between.
    async fn change_secrets(
        &self,
        user: &Identity,
        change: &SecretsChange,
    ) -> Result<StoredSecrets, SecretsError> {
        let name = user_secret_name(user);
        for _ in 0..MAX_ATTEMPTS {
            let current = match self.api.secret(&name).await {
                Ok(secret) => Some(secret),
                Err(ApiError::NotFound) => None,
                Err(error) => return Err(BackendError::from(error).into()),
            };
            let before = current.clone().map(stored).unwrap_or_default();
            let after = change.apply(&before)?;
            let written = match &current {
                None if after.is_empty() => Ok(()),
                None => {
                    let secret = make_user_secret(user, &self.settings, &after);
                    self.api.create_secret(&secret).await.map(drop)
                }
                Some(secret) if after.is_empty() => self.api.delete_secret(&name, secret).await,
                Some(secret) => self.api.patch_secret(&name, patch(secret, &before, &after)).await,
            };
            match written {
                Ok(()) => return Ok(after),
                Err(ApiError::AlreadyExists | ApiError::Conflict | ApiError::NotFound) => {}
                Err(error) => return Err(BackendError::from(error).into()),
            }
        }
        Err(BackendError::from(ApiError::Conflict).into())
    }
}

fn stored(secret: Secret) -> StoredSecrets {
    let data = secret.data.unwrap_or_default();
    data.into_iter().map(|(name, value)| (name, SecretValue::stored(value.0))).collect()
}

/// Returns a JSON merge patch of this version of the Secret, with the keys that differ.
fn patch(secret: &Secret, before: &StoredSecrets, after: &StoredSecrets) -> Value {
    let removed = before.keys().filter(|name| !after.contains_key(*name));
    let removed = removed.map(|name| (name.clone(), Value::Null));
    let set = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
    let set = set.map(|(name, value)| (name.clone(), BASE64_STANDARD.encode(value.expose()).into()));
    let data: Map<_, _> = removed.chain(set).collect();
    json!({
        "metadata": { "resourceVersion": secret.metadata.resource_version, "labels": user_labels() },
        "data": data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_names_the_version_and_only_the_keys_that_differ() {
        let secrets = |all: &[(&str, &str)]| -> StoredSecrets {
            let stored =
                |(name, value): &(&str, &str)| ((*name).to_owned(), SecretValue::stored(value.as_bytes()));
            all.iter().map(stored).collect()
        };
        let mut secret = Secret::default();
        secret.metadata.resource_version = Some("7".into());
        let before = secrets(&[("KEPT", "1"), ("CHANGED", "old"), ("GONE", "3")]);
        let after = secrets(&[("KEPT", "1"), ("CHANGED", "new"), ("ADDED", "4")]);
        let expected = json!({
            "metadata": {
                "resourceVersion": "7",
                "labels": {
                    "app.kubernetes.io/component": "user-secrets",
                    "app.kubernetes.io/managed-by": "opencode-router",
                },
            },
            "data": { "CHANGED": "bmV3", "ADDED": "NA==", "GONE": null },
        });
        assert_eq!(patch(&secret, &before, &after), expected);
    }
}
