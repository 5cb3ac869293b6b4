//! What `opencode attach` needs: its address, and tokens.

use std::time::Duration;

use axum::{
    Json,
    extract::{FromRequestParts, Path, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use pod_manager::{AttachTokenId, AttachTokens, View};
use serde::Deserialize;
use session_key::SessionHash;
use utoipa::IntoParams;

use super::{
    error::{ErrorResponse, MutationErrors, SessionErrors},
    extract::{Caller, IgnoredBody, JsonBody, SessionPath},
    state::ApiState,
};
use crate::{
    view,
    wire::{AttachInfo, AttachToken, CreateAttachToken, ErrorBody, NewAttachToken},
};

const DAY: u64 = 24 * 60 * 60;

/// Get what attaching to a session needs
///
/// The address, and the tokens that are valid. A token itself is returned only when it is created. Attaching
/// to a stopped session starts it.
#[utoipa::path(get, path = "/sessions/{hash}/attach-info", operation_id = "getAttachInfo", tag = "attach",
    params(SessionPath),
    responses((status = 200, description = "Address and tokens", body = AttachInfo), SessionErrors))]
pub(super) async fn info(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    SessionPath(hash): SessionPath,
) -> Result<Json<AttachInfo>, ErrorResponse> {
    let view = api.manager.get(&caller, hash).ok_or_else(ErrorResponse::no_such_session)?;
    Ok(Json(api.attach_info(&view)))
}

/// Create a token for `opencode attach`
///
/// The answer is the only place where the token is ever shown. The first token replaces the password that the
/// TypeScript router gave the session.
#[utoipa::path(post, path = "/sessions/{hash}/attach-tokens", operation_id = "createAttachToken", tag = "attach",
    params(SessionPath), request_body = CreateAttachToken,
    responses(
        (status = 201, description = "The token", body = NewAttachToken),
        (status = 400, description = "The name or the number of days is invalid", body = ErrorBody),
        (status = 408, description = "The body did not arrive within 30 seconds", body = ErrorBody),
        (status = 413, description = "The body is longer than 256 KiB", body = ErrorBody),
        (status = 429, description = "The session has as many tokens as it may have", body = ErrorBody),
        MutationErrors))]
pub(super) async fn create(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    SessionPath(hash): SessionPath,
    JsonBody(request): JsonBody<CreateAttachToken>,
) -> Result<Response, ErrorResponse> {
    let (_, max) = api.manager.attach_token_lifetimes();
    let (name, lifetime) = validate(&request, max)?;
    let (secret, token) = api.manager.create_attach_token(&caller, hash, &name, lifetime).await?;
    let AttachToken { id, name, created_at, expires_at } = view::attach_token(&token);
    let body = NewAttachToken {
        token: secret.expose().to_owned(),
        id,
        name,
        created_at,
        expires_at,
        attach_url: api.attach_url(hash),
    };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Revoke a token
///
/// Whoever is attached with it is disconnected.
#[utoipa::path(delete, path = "/sessions/{hash}/attach-tokens/{id}", operation_id = "revokeAttachToken",
    tag = "attach", params(TokenPath),
    responses((status = 204, description = "The token is revoked"), MutationErrors))]
pub(super) async fn revoke(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    TokenPath { hash, id }: TokenPath,
    _: IgnoredBody,
) -> Result<StatusCode, ErrorResponse> {
    let view = api.manager.get(&caller, hash).ok_or_else(ErrorResponse::no_such_session)?;
    if !api.manager.valid_attach_tokens(&view).iter().any(|token| token.id == id) {
        return Err(ErrorResponse::no_such_token());
    }
    api.manager.revoke_attach_token(&caller, hash, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Revoke all tokens of a session
///
/// Also the password that the TypeScript router gave the session. Whoever is attached is disconnected.
#[utoipa::path(delete, path = "/sessions/{hash}/attach-tokens", operation_id = "revokeAttachTokens",
    tag = "attach", params(SessionPath),
    responses((status = 204, description = "The session has no tokens"), MutationErrors))]
pub(super) async fn revoke_all(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    SessionPath(hash): SessionPath,
    _: IgnoredBody,
) -> Result<StatusCode, ErrorResponse> {
    api.manager.revoke_attach_tokens(&caller, hash).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The token that the path names.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct TokenPath {
    /// The session's key
    #[param(value_type = String)]
    hash: SessionHash,
    /// The token's id
    #[param(value_type = String)]
    id: AttachTokenId,
}

impl<S: Send + Sync> FromRequestParts<S> for TokenPath {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorResponse> {
        #[derive(Deserialize)]
        struct Texts {
            hash: String,
            id: String,
        }
        let texts = Path::<Texts>::from_request_parts(parts, state).await.ok();
        let Some(Path(Texts { hash, id })) = texts else { return Err(ErrorResponse::no_such_session()) };
        let hash = SessionHash::parse(&hash).map_err(|_| ErrorResponse::no_such_session())?;
        Ok(Self { hash, id: AttachTokenId::parse(&id).ok_or_else(ErrorResponse::no_such_token)? })
    }
}

/// Checks a request. Returns the token's name, and how long it is to be valid.
fn validate(request: &CreateAttachToken, max: Duration) -> Result<(String, Option<Duration>), ErrorResponse> {
    let name = request.name.as_deref().map(str::trim).unwrap_or_default();
    if name.chars().any(char::is_control) || name.chars().count() > AttachTokens::MAX_NAME_CHARS {
        let message = format!(
            "A token's name is one line of at most {} characters. Choose another name.",
            AttachTokens::MAX_NAME_CHARS
        );
        return Err(ErrorResponse::bad_request("invalid_name", message));
    }
    let max_days = max.as_secs() / DAY;
    let lifetime = match request.expires_in_days.map(u64::from) {
        None => None,
        Some(days) if (1..=max_days).contains(&days) => Some(Duration::from_secs(days * DAY)),
        Some(_) => {
            let message = format!("A token is valid for 1 to {max_days} days. Choose a number between them.");
            return Err(ErrorResponse::bad_request("invalid_lifetime", message));
        }
    };
    Ok((name.to_owned(), lifetime))
}

impl ApiState {
    fn attach_info(&self, view: &View) -> AttachInfo {
        let hash = view.status.session.hash;
        let (default, max) = self.manager.attach_token_lifetimes();
        let days = |lifetime: Duration| u32::try_from(lifetime.as_secs() / DAY).unwrap_or(u32::MAX);
        AttachInfo {
            hash,
            attach_url: self.attach_url(hash),
            session_id: view::conversation_id(view),
            tokens: self.manager.valid_attach_tokens(view).iter().map(view::attach_token).collect(),
            max_tokens: u32::try_from(AttachTokens::MAX).unwrap_or(u32::MAX),
            default_days: days(default),
            max_days: days(max),
            original_password: view.status.attach_tokens.has_original_password(),
        }
    }

    pub(super) fn attach_url(&self, hash: SessionHash) -> String {
        view::attach_url(hash, &self.settings.scheme, &self.settings.proto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: Option<&str>, days: Option<u32>, expected: Result<(&str, Option<u64>), &str>) {
        let request = CreateAttachToken { name: name.map(Into::into), expires_in_days: days };
        let got = validate(&request, Duration::from_secs(90 * DAY));
        let got = got.as_ref().map(|(name, lifetime)| (name.as_str(), lifetime.map(|l| l.as_secs() / DAY)));
        assert_eq!(got.map_err(|error| error.code), expected, "{name:?} {days:?}");
    }

    #[test]
    fn a_token_has_a_short_name_and_a_bounded_lifetime() {
        check(None, None, Ok(("", None)));
        check(Some(" laptop "), Some(1), Ok(("laptop", Some(1))));
        check(Some(&"é".repeat(60)), Some(90), Ok((&"é".repeat(60), Some(90))));
        check(Some(&"é".repeat(61)), None, Err("invalid_name"));
        check(Some("a\nb"), None, Err("invalid_name"));
        check(None, Some(0), Err("invalid_lifetime"));
        check(None, Some(91), Err("invalid_lifetime"));
    }
}
