//! Creating a session, and suggesting a branch for it.

use axum::{
    Extension, Json,
    extract::State,
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use pod_manager::{NewSession, Source};
use serde::Deserialize;
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl};
use utoipa::IntoParams;

use super::{
    audit::{AuditAction, AuditRecord},
    branch_names,
    error::{CommonErrors, ErrorResponse},
    extract::{Caller, JsonBody, UserCredentials, ValidQuery},
    state::ApiState,
};
use crate::wire::{CreateSession, ErrorBody, SessionState, SuggestedBranch};

/// Longest initial message, in bytes of UTF-8.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// Create a session
///
/// The same user, repository and branch give the same session: a second request starts that session if it is
/// stopped, and does not change its first message. The answer does not wait for the start, whose progress
/// `GET /api/sessions/{hash}/events` reports.
#[utoipa::path(post, path = "/sessions", operation_id = "createSession", tag = "sessions",
    request_body = CreateSession,
    responses(
        (status = 201, description = "The session is new", body = SessionState,
            headers(("location" = String))),
        (status = 200, description = "The session existed already", body = SessionState),
        (status = 400, description = "The repository, a branch or the message is invalid", body = ErrorBody),
        (status = 408, description = "The body did not arrive within 30 seconds", body = ErrorBody),
        (status = 409, description = "The session's key is taken by another session", body = ErrorBody),
        (status = 413, description = "The body is longer than 256 KiB", body = ErrorBody),
        (status = 415, description = "The content type is not application/json", body = ErrorBody),
        (status = 429, description = "The caller has reached a limit", body = ErrorBody),
        (status = 507, description = "The disk for sessions is full", body = ErrorBody),
        CommonErrors))]
pub(super) async fn create(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    UserCredentials(credentials): UserCredentials,
    JsonBody(request): JsonBody<CreateSession>,
) -> Result<Response, ErrorResponse> {
    let suggest = |repo: &RepoUrl| api.suggest_branch(&caller, Some(repo));
    let new = validate(request, api.settings.repos, suggest)?;
    let credentials = api.github.with_git_author(credentials).await;
    let created = api.manager.create(&caller, new, &credentials).await?;
    let hash = created.view.status.session.hash;
    let action = if created.new { AuditAction::Created } else { AuditAction::Resumed };
    let record = Extension(AuditRecord { action, hash: Some(hash) });
    let body = Json(api.session_state(&created.view));
    if !created.new {
        return Ok((record, body).into_response());
    }
    let location = format!("/api/sessions/{hash}");
    Ok((StatusCode::CREATED, record, [(LOCATION, location)], body).into_response())
}

/// Checks a request and returns what the manager is to create.
fn validate(
    request: CreateSession,
    policy: RepoPolicy,
    suggest: impl FnOnce(&RepoUrl) -> Result<GitRef, ErrorResponse>,
) -> Result<NewSession, ErrorResponse> {
    let CreateSession { repo_url, branch, source_branch, initial_message } = request;
    let (branch, source_branch) = (not_blank(branch), not_blank(source_branch));
    let source = match not_blank(repo_url) {
        Some(url) => {
            let url = RepoUrl::parse(&url, policy)?;
            let branch = match branch {
                Some(name) => GitRef::parse(&name)?,
                None => suggest(&url)?,
            };
            let from = source_branch.map(|name| GitRef::parse(&name)).transpose()?;
            Source::Repository { url, branch, from }
        }
        None if branch.is_some() || source_branch.is_some() => {
            return Err(ErrorResponse::bad_request(
                "branch_without_repository",
                "A branch needs a repository: give repoUrl too, or leave the branch out for a new project.",
            ));
        }
        None => Source::Empty,
    };
    let initial_message = not_blank(initial_message);
    if initial_message.as_ref().is_some_and(|message| message.len() > MAX_MESSAGE_BYTES) {
        let kib = MAX_MESSAGE_BYTES / 1024;
        let message = format!("The first message is longer than {kib} KiB. Shorten it.");
        return Err(ErrorResponse::bad_request("message_too_long", message));
    }
    if initial_message.as_ref().is_some_and(|message| message.contains('\0')) {
        let message = "The first message contains a NUL character. Remove it.";
        return Err(ErrorResponse::bad_request("invalid_message", message));
    }
    Ok(NewSession { source, initial_message })
}

/// Returns a field that is filled in; forms send the others as empty texts.
fn not_blank(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

/// The query of the route that suggests a branch.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct SuggestQuery {
    /// The repository. Without it, the name is unused in all of the caller's sessions.
    repo_url: Option<String>,
}

/// Suggest an unused branch name
///
/// Three words, which are not the branch of any of the caller's sessions of that repository.
#[utoipa::path(get, path = "/sessions/suggest-branch", operation_id = "suggestBranch", tag = "sessions",
    params(SuggestQuery),
    responses(
        (status = 200, description = "A branch name", body = SuggestedBranch),
        (status = 400, description = "The repository's address is invalid", body = ErrorBody),
        CommonErrors))]
pub(super) async fn suggest_branch(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    ValidQuery(SuggestQuery { repo_url }): ValidQuery<SuggestQuery>,
) -> Result<Json<SuggestedBranch>, ErrorResponse> {
    let repo = not_blank(repo_url).map(|url| RepoUrl::parse(&url, api.settings.repos)).transpose()?;
    let branch = api.suggest_branch(&caller, repo.as_ref())?;
    Ok(Json(SuggestedBranch { branch: branch.as_str().to_owned() }))
}

impl ApiState {
    fn suggest_branch(&self, caller: &Identity, repo: Option<&RepoUrl>) -> Result<GitRef, ErrorResponse> {
        let sessions = self.manager.list(caller);
        let is_taken = |name: &str| {
            sessions.iter().any(|view| match &view.status.session.source {
                Source::Repository { url, branch, .. } => {
                    branch.as_str() == name && repo.is_none_or(|repo| repo == url)
                }
                Source::Empty => false,
            })
        };
        Ok(branch_names::suggest(&mut rand::rng(), is_taken)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: serde_json::Value, expected: Result<(&str, Option<&str>), &str>) {
        let request: CreateSession = serde_json::from_value(request).expect("a request");
        let new = validate(request, RepoPolicy::default(), |_| Ok(GitRef::parse("calm-snails-dream")?));
        let outcome = new.map(|new| {
            let source = match new.source {
                Source::Empty => "new project".to_owned(),
                Source::Repository { url, branch, from } => {
                    format!("{url} {branch} {}", from.map_or("default".into(), |from| from.to_string()))
                }
            };
            (source, new.initial_message)
        });
        match (outcome, expected) {
            (Ok((source, message)), Ok((want, want_message))) => {
                assert_eq!((source.as_str(), message.as_deref()), (want, want_message));
            }
            (Err(error), Err(code)) => assert_eq!(error.code, code, "{error:?}"),
            (outcome, expected) => panic!("got {outcome:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_request_is_validated_before_anything_is_created() {
        use serde_json::json;
        let repo = "https://h.example/o/n";
        check(json!({}), Ok(("new project", None)));
        check(json!({ "repoUrl": " ", "branch": "", "initialMessage": "\n" }), Ok(("new project", None)));
        check(json!({ "initialMessage": "go\n" }), Ok(("new project", Some("go\n"))));
        check(json!({ "repoUrl": repo }), Ok(("https://h.example/o/n calm-snails-dream default", None)));
        check(
            json!({ "repoUrl": repo, "branch": " fix ", "sourceBranch": "main" }),
            Ok(("https://h.example/o/n fix main", None)),
        );
        check(json!({ "branch": "fix" }), Err("branch_without_repository"));
        check(json!({ "sourceBranch": "fix" }), Err("branch_without_repository"));
        check(json!({ "repoUrl": "git@h.example:o/n" }), Err("invalid_repository"));
        check(json!({ "repoUrl": "/etc" }), Err("invalid_repository"));
        check(json!({ "repoUrl": repo, "branch": "--upload-pack=x" }), Err("invalid_branch"));
        check(json!({ "repoUrl": repo, "sourceBranch": "a..b" }), Err("invalid_branch"));
        check(json!({ "initialMessage": "a\0b" }), Err("invalid_message"));
        check(
            json!({ "initialMessage": "é".repeat(32 * 1024) }),
            Ok(("new project", Some(&"é".repeat(32 * 1024)))),
        );
        check(json!({ "initialMessage": "é".repeat(32 * 1024) + "!" }), Err("message_too_long"));
    }
}
