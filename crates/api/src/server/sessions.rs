//! The caller's sessions: list, read, resume, stop, delete.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    error::{CommonErrors, ErrorResponse, MutationErrors, SessionErrors},
    extract::{Caller, IgnoredBody, SessionPath, UserCredentials, ValidQuery},
    state::ApiState,
};
use crate::wire::{ErrorBody, Session, SessionList, SessionState, UnsavedWork};

/// Most lines that one answer of the log route holds.
pub const MAX_LOG_LINES: usize = 10_000;

/// List the caller's sessions
///
/// The session with the latest activity comes first.
#[utoipa::path(get, path = "/sessions", operation_id = "listSessions", tag = "sessions",
    responses((status = 200, description = "The caller's sessions", body = SessionList), CommonErrors))]
pub(super) async fn list(State(api): State<ApiState>, Caller(caller): Caller) -> Json<SessionList> {
    Json(api.session_list(&caller))
}

/// Get one session
#[utoipa::path(get, path = "/sessions/{hash}", operation_id = "getSession", tag = "sessions",
    params(SessionPath),
    responses((status = 200, description = "The session", body = Session), SessionErrors))]
pub(super) async fn get(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    SessionPath(hash): SessionPath,
) -> Result<Json<Session>, ErrorResponse> {
    let view = api.manager.get(&caller, hash).ok_or_else(ErrorResponse::no_such_session)?;
    Ok(Json(api.session(&view)))
}

/// Start a stopped or failed session
///
/// A session that runs or is starting does not change.
#[utoipa::path(post, path = "/sessions/{hash}/resume", operation_id = "resumeSession", tag = "sessions",
    params(SessionPath),
    responses(
        (status = 200, description = "The session is starting or running", body = SessionState),
        (status = 429, description = "The caller has reached a limit", body = ErrorBody),
        (status = 507, description = "The disk for sessions is full", body = ErrorBody),
        MutationErrors))]
pub(super) async fn resume(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    UserCredentials(credentials): UserCredentials,
    SessionPath(hash): SessionPath,
    _: IgnoredBody,
) -> Result<Json<SessionState>, ErrorResponse> {
    // Nobody waits for GitHub on behalf of a session that is not theirs.
    api.manager.get(&caller, hash).ok_or_else(ErrorResponse::no_such_session)?;
    let credentials = api.github.with_git_author(credentials).await;
    let view = api.manager.resume(&caller, hash, &credentials).await?;
    Ok(Json(api.session_state(&view)))
}

/// Stop a session
///
/// Its files are kept. A session that is stopped or stopping does not change.
#[utoipa::path(post, path = "/sessions/{hash}/stop", operation_id = "stopSession", tag = "sessions",
    params(SessionPath),
    responses(
        (status = 200, description = "The session is stopping or stopped", body = SessionState),
        MutationErrors))]
pub(super) async fn stop(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    SessionPath(hash): SessionPath,
    _: IgnoredBody,
) -> Result<Json<SessionState>, ErrorResponse> {
    let view = api.manager.stop(&caller, hash).await?;
    Ok(Json(api.session_state(&view)))
}

/// Delete a session and all of its files
///
/// `GET /api/sessions/{hash}/work` returns what would be lost.
#[utoipa::path(delete, path = "/sessions/{hash}", operation_id = "deleteSession", tag = "sessions",
    params(SessionPath),
    responses((status = 204, description = "The session is deleted or being deleted"), MutationErrors))]
pub(super) async fn delete(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    SessionPath(hash): SessionPath,
    _: IgnoredBody,
) -> Result<StatusCode, ErrorResponse> {
    api.manager.delete(&caller, hash).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The query of the log route.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    /// The number of lines, counted from the end.
    #[serde(default = "default_lines")]
    #[param(default = 200, minimum = 1, maximum = 10_000)]
    lines: usize,
}

impl LogQuery {
    /// Returns the number of lines, if it is allowed.
    pub(super) fn checked_lines(&self) -> Result<usize, ErrorResponse> {
        if (1..=MAX_LOG_LINES).contains(&self.lines) {
            return Ok(self.lines);
        }
        let message = format!("The number of lines must be between 1 and {MAX_LOG_LINES}.");
        Err(ErrorResponse::bad_request("invalid_query", message))
    }
}

fn default_lines() -> usize {
    200
}

/// Get the end of a session's log
///
/// The output of opencode, or of the step that failed before opencode started. Empty if there is none yet.
#[utoipa::path(get, path = "/sessions/{hash}/logs", operation_id = "getSessionLogs", tag = "sessions",
    params(SessionPath, LogQuery),
    responses(
        (status = 200, description = "The last lines", body = String, content_type = "text/plain"),
        (status = 400, description = "`lines` is not a number from 1 to 10000", body = ErrorBody),
        SessionErrors))]
pub(super) async fn logs(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    SessionPath(hash): SessionPath,
    ValidQuery(query): ValidQuery<LogQuery>,
) -> Result<Response, ErrorResponse> {
    let text = api.manager.logs(&caller, hash, query.checked_lines()?).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// Get the work that deleting a session would lose
#[utoipa::path(get, path = "/sessions/{hash}/work", operation_id = "getUnsavedWork", tag = "sessions",
    params(SessionPath),
    responses(
        (status = 200, description = "Work that exists nowhere else", body = UnsavedWork),
        SessionErrors))]
pub(super) async fn work(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    SessionPath(hash): SessionPath,
) -> Result<Json<UnsavedWork>, ErrorResponse> {
    let work = api.manager.unsaved_work(&caller, hash).await?;
    Ok(Json(crate::view::unsaved(work)))
}
