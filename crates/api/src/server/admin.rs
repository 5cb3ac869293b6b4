//! What administrators see and do: every user's sessions, but nothing that is in them.
//!
//! For everybody else these addresses do not exist: they are answered as any unknown one.

use std::cmp::Reverse;

use axum::{
    Json,
    extract::{FromRequestParts, State},
    http::{StatusCode, header::CONTENT_TYPE, request::Parts},
    response::{IntoResponse, Response},
};

use super::{
    error::{CommonErrors, ErrorResponse, MutationErrors, SessionErrors, no_such_route},
    extract::{Caller, IgnoredBody, SessionPath, ValidQuery},
    sessions::LogQuery,
    state::ApiState,
};
use crate::{
    view,
    wire::{AdminSessionList, ErrorBody, SessionState},
};

/// Marks the request of an administrator: an extension that the layers in front insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Administrator;

/// The request is an administrator's.
pub(super) struct ByAdministrator;

impl<S: Sync> FromRequestParts<S> for ByAdministrator {
    type Rejection = ErrorResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ErrorResponse> {
        Caller::from_request_parts(parts, state).await?;
        match parts.extensions.get::<Administrator>() {
            Some(Administrator) => Ok(Self),
            None => Err(no_such_route().await),
        }
    }
}

/// List the sessions of all users
///
/// The session with the latest activity comes first.
#[utoipa::path(get, path = "/admin/sessions", operation_id = "listAllSessions", tag = "admin",
    responses(
        (status = 200, description = "The sessions of all users", body = AdminSessionList),
        (status = 404, description = "The caller is no administrator", body = ErrorBody),
        CommonErrors))]
pub(super) async fn list(State(api): State<ApiState>, _: ByAdministrator) -> Json<AdminSessionList> {
    let usage = api.manager.usage().await;
    let idle_timeout = api.manager.idle_timeout();
    let mut views = api.manager.list_all();
    views.sort_by_key(|view| (Reverse(view.last_activity), view.status.session.hash));
    let sessions = views.iter().map(|view| {
        let usage = usage.get(&view.status.session.hash).cloned().unwrap_or_default();
        view::admin_session(view, &usage, idle_timeout)
    });
    Json(AdminSessionList { sessions: sessions.collect() })
}

/// Stop any user's session
///
/// Its files are kept, and its owner can resume it. A session that is stopped or stopping does not change.
#[utoipa::path(post, path = "/admin/sessions/{hash}/stop", operation_id = "stopAnySession", tag = "admin",
    params(SessionPath),
    responses(
        (status = 200, description = "The session is stopping or stopped", body = SessionState),
        MutationErrors))]
pub(super) async fn stop(
    State(api): State<ApiState>,
    _: ByAdministrator,
    SessionPath(hash): SessionPath,
    _: IgnoredBody,
) -> Result<Json<SessionState>, ErrorResponse> {
    let state = api.manager.stop_any(hash).await?;
    // The session's address would be of no use to anybody but its owner.
    Ok(Json(SessionState { hash, url: None, state: view::state(state) }))
}

/// Delete any user's session and all of its files
#[utoipa::path(delete, path = "/admin/sessions/{hash}", operation_id = "deleteAnySession", tag = "admin",
    params(SessionPath),
    responses((status = 204, description = "The session is deleted or being deleted"), MutationErrors))]
pub(super) async fn delete(
    State(api): State<ApiState>,
    _: ByAdministrator,
    SessionPath(hash): SessionPath,
    _: IgnoredBody,
) -> Result<StatusCode, ErrorResponse> {
    api.manager.delete_any(hash).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Get the end of any user's session's log
///
/// The output of opencode, or of the step that failed before opencode started. Empty if there is none yet.
#[utoipa::path(get, path = "/admin/sessions/{hash}/logs", operation_id = "getAnySessionLogs", tag = "admin",
    params(SessionPath, LogQuery),
    responses(
        (status = 200, description = "The last lines", body = String, content_type = "text/plain"),
        (status = 400, description = "`lines` is not a number from 1 to 10000", body = ErrorBody),
        SessionErrors))]
pub(super) async fn logs(
    State(api): State<ApiState>,
    _: ByAdministrator,
    SessionPath(hash): SessionPath,
    ValidQuery(query): ValidQuery<LogQuery>,
) -> Result<Response, ErrorResponse> {
    let text = api.manager.logs_of_any(hash, query.checked_lines()?).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}
