//! Asking for a session.

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
    ApiState, MAX_MESSAGE_BYTES,
    audit::{AuditAction, AuditRecord},
    error::{Always, Refusal},
    extract::{Asked, Caller, Given, JsonBody},
    names,
};
use crate::wire::{CreateSession, ErrorBody, SessionState, SuggestedBranch};

/// Ask for a session
///
/// The same user, repository and branch give the same session: asked for again, it is started if it
/// is stopped, and its first message stays the one it was made with. Nothing waits here: `GET
/// /api/sessions/{hash}/events` tells how far it is.
#[utoipa::path(post, path = "/sessions", operation_id = "createSession", tag = "sessions",
    request_body = CreateSession,
    responses(
        (status = 201, description = "It is new", body = SessionState, headers(("location" = String))),
        (status = 200, description = "It was there already", body = SessionState),
        (status = 400, description = "The repository, a branch or the message can't be taken", body = ErrorBody),
        (status = 408, description = "The body did not arrive within 30 seconds", body = ErrorBody),
        (status = 413, description = "The body is longer than 256 KiB", body = ErrorBody),
        (status = 415, description = "The content type is not application/json", body = ErrorBody),
        (status = 429, description = "The caller has as many sessions as allowed", body = ErrorBody),
        (status = 507, description = "No space is left where sessions are kept", body = ErrorBody),
        Always))]
pub(super) async fn create(
    State(api): State<ApiState>,
    Caller(who): Caller,
    Given(credentials): Given,
    JsonBody(asked): JsonBody<CreateSession>,
) -> Result<Response, Refusal> {
    let suggest = |repo: &RepoUrl| api.suggest(&who, Some(repo));
    let new = checked(asked, api.settings.repos, suggest)?;
    let created = api.manager.create(&who, new, &credentials).await?;
    let hash = created.view.status.session.hash;
    let action = if created.new { AuditAction::Created } else { AuditAction::Resumed };
    let record = Extension(AuditRecord { action, hash: Some(hash) });
    let body = Json(api.session_state(&created.view));
    if !created.new {
        return Ok((record, body).into_response());
    }
    let address = format!("/api/sessions/{hash}");
    Ok((StatusCode::CREATED, record, [(LOCATION, address)], body).into_response())
}

/// Turns what was asked for into what the manager takes.
fn checked(
    asked: CreateSession,
    policy: RepoPolicy,
    suggest: impl FnOnce(&RepoUrl) -> Result<GitRef, Refusal>,
) -> Result<NewSession, Refusal> {
    let CreateSession { repo_url, branch, source_branch, initial_message } = asked;
    let source = match given(repo_url) {
        Some(url) => {
            let url = RepoUrl::parse(&url, policy)?;
            let branch = match given(branch) {
                Some(name) => GitRef::parse(&name)?,
                None => suggest(&url)?,
            };
            let from = given(source_branch).map(|name| GitRef::parse(&name)).transpose()?;
            Source::Repository { url, branch, from }
        }
        None if given(branch).is_some() || given(source_branch).is_some() => {
            return Err(Refusal::invalid(
                "branch_without_repository",
                "A branch needs a repository: give repoUrl too, or leave the branch out for a new project.",
            ));
        }
        None => Source::Empty,
    };
    let initial_message = given(initial_message);
    if initial_message.as_ref().is_some_and(|message| message.len() > MAX_MESSAGE_BYTES) {
        let sentence = format!("The first message is longer than {} KiB.", MAX_MESSAGE_BYTES / 1024);
        return Err(Refusal::invalid("message_too_long", sentence));
    }
    if initial_message.as_ref().is_some_and(|message| message.contains('\0')) {
        return Err(Refusal::invalid("invalid_message", "The first message holds a NUL character."));
    }
    Ok(NewSession { source, initial_message })
}

/// What a form leaves empty was not given.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

/// What the suggestion is for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct SuggestQuery {
    /// The repository; without it, the name is unused in all of the caller's sessions.
    repo_url: Option<String>,
}

/// An unused branch name
///
/// Three words that no session of the caller's has as its branch for that repository.
#[utoipa::path(get, path = "/sessions/suggest-branch", operation_id = "suggestBranch", tag = "sessions",
    params(SuggestQuery),
    responses(
        (status = 200, description = "A name", body = SuggestedBranch),
        (status = 400, description = "The repository's address can't be taken", body = ErrorBody),
        Always))]
pub(super) async fn suggest_branch(
    State(api): State<ApiState>,
    Caller(who): Caller,
    Asked(SuggestQuery { repo_url }): Asked<SuggestQuery>,
) -> Result<Json<SuggestedBranch>, Refusal> {
    let repo = given(repo_url).map(|url| RepoUrl::parse(&url, api.settings.repos)).transpose()?;
    let branch = api.suggest(&who, repo.as_ref())?;
    Ok(Json(SuggestedBranch { branch: branch.as_str().to_owned() }))
}

impl ApiState {
    fn suggest(&self, who: &Identity, repo: Option<&RepoUrl>) -> Result<GitRef, Refusal> {
        let sessions = self.manager.list(who);
        let taken = |name: &str| {
            sessions.iter().any(|view| match &view.status.session.source {
                Source::Repository { url, branch, .. } => {
                    branch.as_str() == name && repo.is_none_or(|repo| repo == url)
                }
                Source::Empty => false,
            })
        };
        Ok(names::suggest(&mut rand::rng(), taken)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: serde_json::Value, expected: Result<(&str, Option<&str>), &str>) {
        let asked: CreateSession = serde_json::from_value(asked).expect("a request");
        let got = checked(asked, RepoPolicy::default(), |_| Ok(GitRef::parse("calm-snails-dream")?));
        let shown = got.map(|new| {
            let source = match new.source {
                Source::Empty => "new project".to_owned(),
                Source::Repository { url, branch, from } => {
                    format!("{url} {branch} {}", from.map_or("default".into(), |from| from.to_string()))
                }
            };
            (source, new.initial_message)
        });
        match (shown, expected) {
            (Ok((source, message)), Ok((want, want_message))) => {
                assert_eq!((source.as_str(), message.as_deref()), (want, want_message));
            }
            (Err(refusal), Err(code)) => assert_eq!(refusal.code, code, "{refusal:?}"),
            (got, expected) => panic!("got {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn what_is_asked_for_is_checked_before_anything_is_made() {
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
