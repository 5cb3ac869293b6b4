//! The routes under `/api`, over a [`Manager`](pod_manager::Manager).
//!
//! The caller is an [`Identity`](session_key::Identity) among the request's extensions, put there by the
//! layers in front; without one, every route answers 401. [`Credentials`](pod_manager::Credentials) beside it
//! are passed to the session that is created or resumed. Another user's session is answered exactly as one
//! that does not exist. With an [`Administrator`] among the extensions, the caller may use the routes under
//! `/api/admin`, which to everybody else do not exist. Every error is an
//! [`ErrorBody`](crate::wire::ErrorBody).
//!
//! A request with a body must say `content-type: application/json`: a browser sends that from a page of
//! another origin only after a preflight request (CORS), which is never allowed.

mod admin;
mod admin_secret;
mod attach;
mod audit;
mod branch_names;
mod create;
mod error;
mod extract;
mod github_access;
mod images;
mod messages;
mod progress;
mod reports;
mod repositories;
mod secret_routes;
mod sessions;
mod site;
mod sse;
mod state;
mod stream_limit;
mod user_secrets;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{MethodRouter, any},
};
use utoipa::OpenApi;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

pub use admin::Administrator;
pub use audit::{AuditAction, AuditRecord};
pub use create::MAX_MESSAGE_BYTES;
pub use error::{ErrorCode, error_response};
pub use extract::{BODY_DEADLINE, MAX_BODY_BYTES};
pub use github_access::{Github, OwnToken};
pub use images::PULL_IMAGE_PATH;
pub use secret_routes::{SecretRoutes, is_secret_route, secret_routes};

pub use reports::reports;
pub use sessions::MAX_LOG_LINES;
pub use state::{ApiState, Settings};
pub use stream_limit::MAX_MESSAGE_STREAMS;

use crate::wire;

/// Returns the routes, all under `/api`, and their description.
///
/// Merge the router into the site's: it answers unknown paths under `/api` (404, JSON) and leaves all others
/// to the site's own fallback.
pub fn router(state: ApiState) -> (Router, utoipa::openapi::OpenApi) {
    let (routes, description) = described();
    (routes.with_state(state), description)
}

/// Returns the content of `openapi.json`: the description of the routes, as pretty JSON with a newline at its
/// end.
///
/// # Errors
/// None in practice: the description is made of strings and maps.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    let (_, description) = described();
    Ok(description.to_pretty_json()? + "\n")
}

fn described() -> (Router<ApiState>, utoipa::openapi::OpenApi) {
    let routes = OpenApiRouter::new()
        .routes(routes!(sessions::list))
        .routes(routes!(create::create).map(audited(AuditAction::Created)))
        .routes(routes!(sse::stream))
        .routes(routes!(create::suggest_branch))
        .routes(routes!(sessions::get))
        .routes(routes!(sessions::delete).map(audited(AuditAction::Deleted)))
        .routes(routes!(sessions::resume).map(audited(AuditAction::Resumed)))
        .routes(routes!(sessions::stop).map(audited(AuditAction::Stopped)))
        .routes(routes!(sse::events))
        .routes(routes!(messages::stream))
        .routes(routes!(sessions::logs))
        .routes(routes!(sessions::work))
        .routes(routes!(repositories::repositories))
        .routes(routes!(repositories::branches))
        .routes(routes!(admin::list))
        .routes(routes!(admin::stop).map(audited(AuditAction::AdminStopped)))
        .routes(routes!(admin::delete).map(audited(AuditAction::AdminDeleted)))
        .routes(routes!(admin::logs).map(audited(AuditAction::AdminReadLogs)))
        .routes(routes!(attach::info))
        .routes(routes!(attach::create).map(audited(AuditAction::AttachTokenCreated)))
        .routes(routes!(attach::revoke_all).map(audited(AuditAction::AttachTokenRevoked)))
        .routes(routes!(attach::revoke).map(audited(AuditAction::AttachTokenRevoked)))
        .routes(routes!(user_secrets::list))
        .routes(routes!(user_secrets::replace).map(audited(AuditAction::SecretsReplaced)))
        .routes(routes!(user_secrets::set_some).map(audited(AuditAction::SecretsSet)))
        .routes(routes!(user_secrets::clear).map(audited(AuditAction::SecretsDeleted)))
        .routes(routes!(user_secrets::set).map(audited(AuditAction::SecretsSet)))
        .routes(routes!(user_secrets::remove).map(audited(AuditAction::SecretsDeleted)))
        .routes(routes!(site::config))
        .routes(routes!(site::openapi))
        .fallback(error::no_such_route)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(error::finish));
    // A nested router does not match its own prefix followed by a slash alone.
    let bare = any(error::no_such_route).layer(middleware::from_fn(error::finish));
    OpenApiRouter::with_openapi(Description::openapi())
        .nest("/api", routes)
        .route("/api/", bare)
        .split_for_parts()
}

/// Adds an [`AuditRecord`] to every response of a route.
fn audited(action: AuditAction) -> impl FnOnce(MethodRouter<ApiState>) -> MethodRouter<ApiState> {
    move |route| route.route_layer(middleware::from_fn_with_state(action, audit::attach))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "opencode-router",
        description = "opencode sessions: one for each user, repository and branch.\n\n\
            The caller is known from the sign-in in front of the router, not from anything in these \
            requests. Every error is an `ErrorBody`. A request with a body must have the header \
            `content-type: application/json`.",
        version = "1",
        license(name = "MIT", identifier = "MIT")
    ),
    paths(images::pull_image, secret_routes::ports),
    components(schemas(wire::ImagePullProgress, wire::SessionEvent, wire::ThreadMessage, wire::ErrorBody)),
    tags(
        (name = "sessions", description = "The caller's sessions"),
        (name = "attach", description = "Tokens for `opencode attach`"),
        (name = "github", description = "What the caller's GitHub token may read"),
        (name = "admin", description = "The sessions of all users, for administrators"),
        (name = "secrets", description = "Variables of all of the caller's sessions"),
        (name = "site", description = "What the site needs to know")
    )
)]
struct Description;
