//! What the site and programs need to know of the router itself.

use axum::{Json, extract::State, http::header::CONTENT_TYPE, response::IntoResponse};

use super::{ApiState, error::Always, extract::Caller};
use crate::wire::SiteConfig;

/// What the site needs to know
#[utoipa::path(get, path = "/config", operation_id = "getConfig", tag = "site",
    responses((status = 200, description = "The router's settings that a person notices", body = SiteConfig), Always))]
pub(super) async fn config(State(api): State<ApiState>, _: Caller) -> Json<SiteConfig> {
    let settings = &api.settings;
    Json(SiteConfig {
        default_repo: settings.default_repo.clone(),
        ssh_repos: settings.repos.ssh_and_git,
        local_repos: settings.repos.local_paths,
        idle_timeout_minutes: crate::view::minutes(api.manager.idle_timeout()),
        version: settings.version.clone(),
    })
}

/// This description
#[utoipa::path(get, path = "/openapi.json", operation_id = "getOpenapi", tag = "site",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value), Always))]
pub(super) async fn openapi(_: Caller) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], include_str!("../../openapi.json"))
}
