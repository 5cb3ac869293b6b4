//! The caller's secrets: names can be listed, values only be set.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
};
use pod_manager::{
    SecretName, SecretValue, SecretsChange, SecretsError,
    user_secrets::{InvalidSecretName, InvalidSecretValue},
};
use session_key::Identity;
use utoipa::IntoParams;

use super::{
    error::{CommonErrors, ErrorResponse, SecretErrors, sentence},
    extract::{Caller, IgnoredBody, JsonBody},
    state::ApiState,
};
use crate::wire::{Acknowledged, ErrorBody, SecretNames, SecretText, SetSecret, SetSecrets};

/// Longest name that an error repeats, in characters.
const MAX_SHOWN: usize = 60;

/// List the names of the caller's secrets
///
/// A secret is a variable in the environment of each of the caller's sessions, from its next start on. Its
/// value can't be read.
#[utoipa::path(get, path = "/user/secret", operation_id = "listSecrets", tag = "secrets",
    responses((status = 200, description = "The names", body = SecretNames), CommonErrors))]
pub(super) async fn list(
    State(api): State<ApiState>,
    Caller(caller): Caller,
) -> Result<Json<SecretNames>, ErrorResponse> {
    let names = api.manager.user_secrets().names(&caller).await?;
    Ok(Json(SecretNames::new(names)))
}

/// Replace all of the caller's secrets
///
/// Secrets that are not in the request are deleted. To keep them, use `PATCH` or
/// `PUT /api/user/secret/{name}`.
#[utoipa::path(post, path = "/user/secret", operation_id = "replaceSecrets", tag = "secrets",
    request_body = SetSecrets,
    responses((status = 200, description = "The new names", body = Acknowledged), SecretErrors))]
pub(super) async fn replace(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    JsonBody(request): JsonBody<SetSecrets>,
) -> Result<Json<Acknowledged>, ErrorResponse> {
    let change = SecretsChange::Replace(secrets(request)?);
    let SecretNames { keys, .. } = api.change_secrets(&caller, change).await?;
    Ok(Json(Acknowledged { success: true, keys: Some(keys) }))
}

/// Set some of the caller's secrets
///
/// Others stay as they are.
#[utoipa::path(patch, path = "/user/secret", operation_id = "setSecrets", tag = "secrets",
    request_body = SetSecrets,
    responses((status = 200, description = "All names", body = SecretNames), SecretErrors))]
pub(super) async fn set_some(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    JsonBody(request): JsonBody<SetSecrets>,
) -> Result<Json<SecretNames>, ErrorResponse> {
    api.change_secrets(&caller, SecretsChange::Set(secrets(request)?)).await.map(Json)
}

/// Delete all of the caller's secrets
#[utoipa::path(delete, path = "/user/secret", operation_id = "deleteSecrets", tag = "secrets",
    responses(
        (status = 200, description = "There are none now", body = Acknowledged),
        (status = 415, description = "The request has a body whose content type is not application/json",
            body = ErrorBody),
        CommonErrors))]
pub(super) async fn clear(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    _: IgnoredBody,
) -> Result<Json<Acknowledged>, ErrorResponse> {
    api.change_secrets(&caller, SecretsChange::Clear).await?;
    Ok(Json(Acknowledged { success: true, keys: None }))
}

/// Set one of the caller's secrets
#[utoipa::path(put, path = "/user/secret/{name}", operation_id = "setSecret", tag = "secrets",
    params(SecretPath), request_body = SetSecret,
    responses((status = 200, description = "All names", body = SecretNames), SecretErrors))]
pub(super) async fn set(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    SecretPath(name): SecretPath,
    JsonBody(request): JsonBody<SetSecret>,
) -> Result<Json<SecretNames>, ErrorResponse> {
    let text = request.value.ok_or_else(|| {
        ErrorResponse::bad_request("invalid_secret_value", "The field value is required and must be a text.")
    })?;
    let secret = secret(&name, &text)?;
    api.change_secrets(&caller, SecretsChange::Set([secret].into())).await.map(Json)
}

/// Delete one of the caller's secrets
#[utoipa::path(delete, path = "/user/secret/{name}", operation_id = "deleteSecret", tag = "secrets",
    params(SecretPath),
    responses(
        (status = 200, description = "The names that are left", body = SecretNames),
        (status = 404, description = "The caller has no secret of this name", body = ErrorBody),
        (status = 415, description = "The request has a body whose content type is not application/json",
            body = ErrorBody),
        CommonErrors))]
pub(super) async fn remove(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    SecretPath(name): SecretPath,
    _: IgnoredBody,
) -> Result<Json<SecretNames>, ErrorResponse> {
    api.change_secrets(&caller, SecretsChange::Remove(name)).await.map(Json)
}

/// The secret that the path names.
#[derive(IntoParams)]
#[into_params(names("name"), parameter_in = Path)]
pub(super) struct SecretPath(
    /// The variable's name
    String,
);

impl<S: Send + Sync> FromRequestParts<S> for SecretPath {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorResponse> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(_) => Err(invalid_name("", InvalidSecretName::Syntax)),
        }
    }
}

impl ApiState {
    async fn change_secrets(
        &self,
        caller: &Identity,
        change: SecretsChange,
    ) -> Result<SecretNames, ErrorResponse> {
        let names = self.manager.user_secrets().change(caller, change).await?;
        Ok(SecretNames::new(names))
    }
}

/// Checks the secrets of a request. White space around names is ignored, as the TypeScript router does.
fn secrets(request: SetSecrets) -> Result<BTreeMap<SecretName, SecretValue>, ErrorResponse> {
    let Some(secrets) = request.secrets else {
        let message = "The field secrets is required and must be an object of names and values.";
        return Err(ErrorResponse::bad_request("invalid_secrets", message));
    };
    if secrets.is_empty() {
        return Err(ErrorResponse::bad_request("invalid_secrets", "At least one secret is required."));
    }
    secrets.iter().map(|(name, text)| secret(name.trim(), text)).collect()
}

fn secret(name: &str, text: &SecretText) -> Result<(SecretName, SecretValue), ErrorResponse> {
    let parsed = SecretName::parse(name).map_err(|error| invalid_name(name, error))?;
    let value = SecretValue::parse(text.expose()).map_err(|error| {
        let message = match error {
            InvalidSecretValue::Nul => format!("The value of {name} contains a NUL character. Remove it."),
            _ => format!("The value of {name} is too long: {error}."),
        };
        ErrorResponse::bad_request("invalid_secret_value", message)
    })?;
    Ok((parsed, value))
}

fn invalid_name(name: &str, error: InvalidSecretName) -> ErrorResponse {
    let shown: String =
        name.chars().take(MAX_SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    match error {
        InvalidSecretName::Denied => {
            let message =
                format!("The variable {shown} could break a session, and can't be set. Choose another name.");
            ErrorResponse::bad_request("secret_name_denied", message)
        }
        _ => {
            let message = format!("“{shown}” is not a name of a variable: {error}.");
            ErrorResponse::bad_request("invalid_secret_name", message)
        }
    }
}

impl From<SecretsError> for ErrorResponse {
    fn from(error: SecretsError) -> Self {
        match &error {
            SecretsError::NotFound => {
                Self::new(StatusCode::NOT_FOUND, "not_found", "You have no secret of this name.")
            }
            SecretsError::TooMany | SecretsError::TooLong => {
                let message =
                    format!("{} Delete some that you no longer need, and try again.", sentence(&error));
                Self::bad_request("secrets_limit_reached", message)
            }
            error => {
                tracing::warn!(%error, "the store of users' secrets is unavailable");
                let message = "Your secrets can't be read or changed now. Try again in a moment.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
            }
        }
    }
}
