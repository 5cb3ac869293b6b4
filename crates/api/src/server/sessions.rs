//! A user's sessions, one at a time or as a list.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    ApiState, MAX_LOG_LINES,
    error::{Always, OfOne, OfOneChanged, Refusal},
    extract::{Asked, Caller, Given, IgnoredBody, Named},
};
use crate::wire::{ErrorBody, Session, SessionList, SessionState, UnsavedWork};

/// The caller's sessions
///
/// Newest activity first.
#[utoipa::path(get, path = "/sessions", operation_id = "listSessions", tag = "sessions",
    responses((status = 200, description = "The caller's sessions", body = SessionList), Always))]
pub(super) async fn list(State(api): State<ApiState>, Caller(who): Caller) -> Json<SessionList> {
    Json(api.session_list(&who))
}

/// One session
#[utoipa::path(get, path = "/sessions/{hash}", operation_id = "getSession", tag = "sessions",
    params(("hash" = String, Path, description = "The session's key")),
    responses((status = 200, description = "The session", body = Session), OfOne))]
pub(super) async fn get(
    State(api): State<ApiState>,
    Caller(who): Caller,
    Named(hash): Named,
) -> Result<Json<Session>, Refusal> {
    let view = api.manager.get(&who, hash).ok_or_else(Refusal::no_such_session)?;
    Ok(Json(api.session(&view)))
}

/// Start a stopped or failed session
///
/// Of a session that runs or is on its way, nothing changes.
#[utoipa::path(post, path = "/sessions/{hash}/resume", operation_id = "resumeSession", tag = "sessions",
    params(("hash" = String, Path, description = "The session's key")),
    responses(
        (status = 200, description = "It is starting, or runs", body = SessionState),
        (status = 429, description = "The caller has as many running sessions as allowed", body = ErrorBody),
        (status = 507, description = "No space is left where sessions are kept", body = ErrorBody),
        OfOneChanged))]
pub(super) async fn resume(
    State(api): State<ApiState>,
    Caller(who): Caller,
    Given(credentials): Given,
    Named(hash): Named,
    _: IgnoredBody,
) -> Result<Json<SessionState>, Refusal> {
    let view = api.manager.resume(&who, hash, &credentials).await?;
    Ok(Json(api.session_state(&view)))
}

/// Stop a session
///
/// Its files are kept. Of a session that is stopped or on its way there, nothing changes.
#[utoipa::path(post, path = "/sessions/{hash}/stop", operation_id = "stopSession", tag = "sessions",
    params(("hash" = String, Path, description = "The session's key")),
    responses((status = 200, description = "It is stopping, or stopped", body = SessionState), OfOneChanged))]
pub(super) async fn stop(
    State(api): State<ApiState>,
    Caller(who): Caller,
    Named(hash): Named,
    _: IgnoredBody,
) -> Result<Json<SessionState>, Refusal> {
    let view = api.manager.stop(&who, hash).await?;
    Ok(Json(api.session_state(&view)))
}

/// Delete a session and all of its files
///
/// `GET /api/sessions/{hash}/work` tells beforehand what would be lost.
#[utoipa::path(delete, path = "/sessions/{hash}", operation_id = "deleteSession", tag = "sessions",
    params(("hash" = String, Path, description = "The session's key")),
    responses((status = 204, description = "It is gone, or on its way to be"), OfOneChanged))]
pub(super) async fn delete(
    State(api): State<ApiState>,
    Caller(who): Caller,
    Named(hash): Named,
    _: IgnoredBody,
) -> Result<StatusCode, Refusal> {
    api.manager.delete(&who, hash).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the log route is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    /// How many lines, from the end.
    #[serde(default = "default_lines")]
    #[param(default = 200, minimum = 1, maximum = 10_000)]
    lines: usize,
}

fn default_lines() -> usize {
    200
}

/// The end of a session's log
///
/// What opencode wrote, or what failed before it; empty where there is nothing yet.
#[utoipa::path(get, path = "/sessions/{hash}/logs", operation_id = "getSessionLogs", tag = "sessions",
    params(("hash" = String, Path, description = "The session's key"), LogQuery),
    responses(
        (status = 200, description = "The last lines", body = String, content_type = "text/plain"),
        (status = 400, description = "`lines` is no number from 1 to 10000", body = ErrorBody),
        OfOne))]
pub(super) async fn logs(
    State(api): State<ApiState>,
    Caller(who): Caller,
    Named(hash): Named,
    Asked(LogQuery { lines }): Asked<LogQuery>,
) -> Result<Response, Refusal> {
    if !(1..=MAX_LOG_LINES).contains(&lines) {
        let sentence = format!("The number of lines must be from 1 to {MAX_LOG_LINES}.");
        return Err(Refusal::invalid("invalid_query", sentence));
    }
    let text = api.manager.logs(&who, hash, lines).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// What deleting a session would lose
#[utoipa::path(get, path = "/sessions/{hash}/work", operation_id = "getUnsavedWork", tag = "sessions",
    params(("hash" = String, Path, description = "The session's key")),
    responses((status = 200, description = "Work that is nowhere else", body = UnsavedWork), OfOne))]
pub(super) async fn work(
    State(api): State<ApiState>,
    Caller(who): Caller,
    Named(hash): Named,
) -> Result<Json<UnsavedWork>, Refusal> {
    let work = api.manager.unsaved_work(&who, hash).await?;
    Ok(Json(crate::view::unsaved(work)))
}
