//! What the site and programs need to know about the router itself.

use axum::{Extension, Json, extract::State, http::header::CONTENT_TYPE, response::IntoResponse};

use super::{
    admin::Administrator,
    error::CommonErrors,
    extract::{Caller, UserCredentials},
    state::ApiState,
};
use crate::wire::SiteConfig;

/// Get the site's configuration
#[utoipa::path(get, path = "/config", operation_id = "getConfig", tag = "site",
    responses(
        (status = 200, description = "The settings of the router that the site shows", body = SiteConfig),
        CommonErrors))]
pub(super) async fn config(
    State(api): State<ApiState>,
    _: Caller,
    UserCredentials(credentials): UserCredentials,
    administrator: Option<Extension<Administrator>>,
) -> Json<SiteConfig> {
    let settings = &api.settings;
    Json(SiteConfig {
        default_repo: settings.default_repo.clone(),
        ssh_repos: settings.repos.ssh_and_git,
        local_repos: settings.repos.local_paths,
        idle_timeout_minutes: crate::view::minutes(api.manager.idle_timeout()),
        github_url: api.github.web_url(),
        github_token: api.github.token(&credentials).await.is_some(),
        admin: administrator.is_some(),
        version: settings.version.clone(),
    })
}

/// Get this description
#[utoipa::path(get, path = "/openapi.json", operation_id = "getOpenapi", tag = "site",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value), CommonErrors))]
pub(super) async fn openapi(_: Caller) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], include_str!("../../openapi.json"))
}
