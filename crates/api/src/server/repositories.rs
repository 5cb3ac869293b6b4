//! The caller's repositories on GitHub, and their branches.

use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use github::{GithubError, Listing, RepoName};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    error::{CommonErrors, ErrorResponse},
    extract::{Caller, UserCredentials, ValidQuery},
    state::ApiState,
};
use crate::wire::{Branch, ErrorBody, Repository};

/// Why a list is not complete.
const INCOMPLETE: HeaderName = HeaderName::from_static("x-incomplete");

/// List the caller's repositories on GitHub
///
/// All that the caller's GitHub token may read, the one with the latest change first. The router remembers
/// them for a minute.
#[utoipa::path(get, path = "/user/repos", operation_id = "listRepositories", tag = "github",
    responses(
        (status = 200, description = "The repositories", body = Vec<Repository>,
            headers(("x-incomplete" = String, description = "Set if some are missing: `limit` or `sso`"))),
        (status = 403, description = "There is no GitHub token, or GitHub refuses it", body = ErrorBody),
        (status = 429, description = "GitHub's rate limit is reached", body = ErrorBody),
        CommonErrors))]
pub(super) async fn repositories(
    State(api): State<ApiState>,
    _: Caller,
    UserCredentials(credentials): UserCredentials,
) -> Result<Response, ErrorResponse> {
    let token = api.github.required_token(&credentials).await?;
    let list = api.github.client.repositories(token.expose()).await?;
    let repositories: Vec<Repository> = list
        .iter()
        .map(|repository| Repository {
            name: repository.name.clone(),
            full_name: repository.full_name.clone(),
            url: repository.html_url.clone(),
            is_private: repository.private,
            default_branch: repository.default_branch.clone(),
        })
        .collect();
    Ok((incomplete(&list), Json(repositories)).into_response())
}

/// The query of the route that lists branches.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct BranchQuery {
    /// The repository, `owner/name`.
    #[serde(default)]
    #[param(required, example = "acme/widgets")]
    repo: String,
}

/// List the branches of a repository on GitHub
#[utoipa::path(get, path = "/user/repos/branches", operation_id = "listBranches", tag = "github",
    params(BranchQuery),
    responses(
        (status = 200, description = "The branches", body = Vec<Branch>,
            headers(("x-incomplete" = String, description = "Set if some are missing: `limit`"))),
        (status = 400, description = "`repo` is not `owner/name`", body = ErrorBody),
        (status = 403, description = "There is no GitHub token, or GitHub refuses it", body = ErrorBody),
        (status = 404, description = "No such repository, or the token may not read it", body = ErrorBody),
        (status = 429, description = "GitHub's rate limit is reached", body = ErrorBody),
        CommonErrors))]
pub(super) async fn branches(
    State(api): State<ApiState>,
    _: Caller,
    UserCredentials(credentials): UserCredentials,
    ValidQuery(BranchQuery { repo }): ValidQuery<BranchQuery>,
) -> Result<Response, ErrorResponse> {
    let repo = RepoName::parse(&repo).ok_or_else(|| {
        let message = "The parameter repo must be the name of a repository: owner/name.";
        ErrorResponse::bad_request("invalid_repository", message)
    })?;
    let token = api.github.required_token(&credentials).await?;
    let list = api.github.client.branches(token.expose(), &repo).await?;
    let branches: Vec<Branch> = list.iter().map(|branch| Branch { name: branch.name.clone() }).collect();
    Ok((incomplete(&list), Json(branches)).into_response())
}

fn incomplete<T>(list: &Listing<T>) -> Option<[(HeaderName, HeaderValue); 1]> {
    let reason = if list.truncated { "limit" } else { "sso" };
    (list.truncated || list.partial).then(|| [(INCOMPLETE, HeaderValue::from_static(reason))])
}

impl From<GithubError> for ErrorResponse {
    fn from(error: GithubError) -> Self {
        match &error {
            GithubError::Unauthorized => Self::new(
                StatusCode::FORBIDDEN,
                "github_token_refused",
                "GitHub does not accept your token; it may have expired or been revoked. Sign out and in again.",
            ),
            GithubError::SsoRequired { url } => {
                let page = url.as_ref().map_or("GitHub's settings".to_owned(), Clone::clone);
                let message = format!(
                    "Your organization requires single sign-on. Authorize your token at {page}, then try again."
                );
                Self::new(StatusCode::FORBIDDEN, "github_sso_required", message)
            }
            GithubError::RateLimited { retry_after } => {
                let seconds = retry_after.as_millis().div_ceil(1000).max(1);
                let minutes = seconds.div_ceil(60);
                let wait = match (seconds, minutes) {
                    (1, _) => "1 second".to_owned(),
                    (2..=90, _) => format!("{seconds} seconds"),
                    _ => format!("{minutes} minutes"),
                };
                let message = format!("GitHub's rate limit is reached. Try again in {wait}.");
                Self::new(StatusCode::TOO_MANY_REQUESTS, "github_rate_limited", message)
                    .with_retry_after(seconds)
            }
            GithubError::Forbidden => Self::new(
                StatusCode::FORBIDDEN,
                "github_forbidden",
                "GitHub does not let your token read this. It may lack a permission.",
            ),
            GithubError::NotFound => Self::new(
                StatusCode::NOT_FOUND,
                "github_not_found",
                "Repository not found on GitHub, or you don't have access to it.",
            ),
            error => {
                tracing::warn!(%error, "GitHub gives no answer");
                let message = "GitHub does not answer. Try again in a moment.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "github_unavailable", message).with_retry_after(10)
            }
        }
    }
}
