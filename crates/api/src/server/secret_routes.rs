//! The routes in front of the sign-in: a secret takes its place.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, Method},
    middleware,
    routing::get,
};
use pod_manager::{Manager, PullImage};
use session_key::SessionHash;

use super::{
    admin_secret::{AdminSecret, HEADER},
    error::{self, ErrorResponse},
    images::{self, PULL_IMAGE_PATH, Pulls},
};
use crate::wire::{ErrorBody, PortNumbers};

/// What the routes need.
pub struct SecretRoutes {
    /// The secret that a request must carry; without one, the routes are off.
    pub secret: Option<String>,
    /// Knows the sessions' ports.
    pub manager: Arc<Manager>,
    /// Pulls images; `None` if the backend has none to pull.
    pub puller: Option<Arc<dyn PullImage>>,
    /// How long a request's body may take to arrive.
    pub body_deadline: Duration,
}

pub(super) struct Ports {
    secret: Arc<AdminSecret>,
    manager: Arc<Manager>,
}

/// Returns the routes. They need no sign-in, so they stand in front of the layer that asks for one, which
/// gets every request that [`is_secret_route`] does not name.
pub fn secret_routes(settings: SecretRoutes) -> Router {
    let SecretRoutes { secret, manager, puller, body_deadline } = settings;
    let secret = Arc::new(AdminSecret::new(secret));
    let ports = Router::new()
        .route("/api/sessions/{hash}/ports", get(ports))
        .layer(middleware::from_fn(error::finish))
        .with_state(Arc::new(Ports { secret: secret.clone(), manager }));
    images::routes(Pulls::new(secret, puller, body_deadline)).merge(ports)
}

/// Returns whether [`secret_routes`] answers the request. A user's own request for ports carries no secret.
#[must_use]
pub fn is_secret_route(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    let is_ports =
        || path.strip_prefix("/api/sessions/").is_some_and(|rest| rest.split('/').nth(1) == Some("ports"));
    path == PULL_IMAGE_PATH || (method == Method::GET && headers.contains_key(HEADER) && is_ports())
}

/// List the ports on which a session listens
///
/// For operators that publish them: the secret takes the place of a sign-in. A session that does not run or
/// does not exist has none. Owners see the ports of their sessions with names and addresses in
/// `Session.ports`.
#[utoipa::path(get, path = "/api/sessions/{hash}/ports", operation_id = "listSessionPorts", tag = "admin",
    params(
        ("hash" = String, Path, description = "The session's key"),
        ("x-admin-secret" = String, Header, description = "The router's ADMIN_SECRET")),
    responses(
        (status = 200, description = "The ports, in order", body = PortNumbers),
        (status = 403, description = "The secret is wrong", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 501, description = "ADMIN_SECRET is not set", body = ErrorBody)))]
pub(super) async fn ports(
    State(state): State<Arc<Ports>>,
    Path(hash): Path<String>,
    headers: HeaderMap,
) -> Result<Json<PortNumbers>, ErrorResponse> {
    state.secret.admit(&headers)?;
    let ports =
        SessionHash::parse(&hash).map_or_else(|_| Vec::new(), |hash| state.manager.ports_of_any(hash));
    Ok(Json(PortNumbers { ports }))
}
