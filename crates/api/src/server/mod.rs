//! The routes under `/api`, over a [`Manager`].
//!
//! Who asks is an [`Identity`](session_key::Identity) among the request's extensions, put there by the layers in front;
//! without one every route answers 401. Beside it may stand [`Credentials`](pod_manager::Credentials), which are
//! given to the session that is created or resumed. Another user's session answers exactly as one that does not
//! exist. Every error is an [`ErrorBody`](crate::wire::ErrorBody), whatever made it.
//!
//! A request with a body must say `content-type: application/json`: a page of another origin can't send that without
//! asking first (CORS), and is never answered that it may.

mod audit;
mod create;
mod error;
mod extract;
mod live;
mod names;
mod progress;
mod sessions;
mod site;
mod view;

pub use audit::{AuditAction, AuditRecord};
pub use error::RefusalCode;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{MethodRouter, any},
};
use pod_manager::Manager;
use session_key::{HostScheme, RepoPolicy};
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

use crate::wire;

/// Longest request body, in bytes.
pub const MAX_BODY_BYTES: usize = 256 * 1024;
/// How long a request body may take to arrive.
pub const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// Longest initial message, in bytes of UTF-8.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// Most lines that one answer of the log route holds.
pub const MAX_LOG_LINES: usize = 10_000;

/// What the routes stand on.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The names under which sessions are reached.
    pub scheme: HostScheme,
    /// `http` or `https`: how browsers reach those names.
    pub proto: String,
    /// Which repository addresses are taken.
    pub repos: RepoPolicy,
    /// Filled in as the repository by the site.
    pub default_repo: Option<String>,
    /// The router's version.
    pub version: String,
}

/// What every handler is given.
#[derive(Clone)]
pub struct ApiState {
    manager: Arc<Manager>,
    settings: Arc<Settings>,
    ends: CancellationToken,
}

impl ApiState {
    /// The state of routes over this manager. Once `ends` is cancelled, event streams come to their end, so
    /// that a server that drains does not wait for them; other requests are answered as before.
    #[must_use]
    pub fn new(manager: Arc<Manager>, settings: Settings, ends: CancellationToken) -> Self {
        Self { manager, settings: Arc::new(settings), ends }
    }
}

/// The routes, all under `/api`, and their description.
///
/// Merge the router into the site's: paths under `/api` that are no route are answered here
/// (404, JSON), all others are left to the site's own fallback.
pub fn router(state: ApiState) -> (Router, utoipa::openapi::OpenApi) {
    let (routes, description) = described();
    (routes.with_state(state), description)
}

/// The description of the routes: what `openapi.json` holds, as pretty JSON with a newline at its end.
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
        .routes(routes!(live::stream))
        .routes(routes!(create::suggest_branch))
        .routes(routes!(sessions::get))
        .routes(routes!(sessions::delete).map(audited(AuditAction::Deleted)))
        .routes(routes!(sessions::resume).map(audited(AuditAction::Resumed)))
        .routes(routes!(sessions::stop).map(audited(AuditAction::Stopped)))
        .routes(routes!(live::events))
        .routes(routes!(sessions::logs))
        .routes(routes!(sessions::work))
        .routes(routes!(site::config))
        .routes(routes!(site::openapi))
        .fallback(error::no_such_route)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(error::finish));
    // A nested router does not see its own prefix with nothing but a slash behind it.
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
        description = "Sessions of opencode, one for each user, repository and branch.\n\n\
            Who asks is known from the sign-in in front of the router, not from anything in these requests. \
            Every error answer is an `ErrorBody`. A request with a body must have the header \
            `content-type: application/json`.",
        version = "1",
        license(name = "MIT", identifier = "MIT")
    ),
    components(schemas(wire::SessionEvent, wire::ErrorBody)),
    tags((name = "sessions", description = "A user's own sessions"), (name = "site", description = "What the site needs to know"))
)]
struct Description;
