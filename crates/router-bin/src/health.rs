//! The routes of the health listener: liveness, readiness and metrics.

use std::sync::Arc;

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use pod_manager::manager::Manager;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// The state of the routes.
#[derive(Clone)]
pub struct HealthState {
    /// Knows whether the sessions are loaded, and counts them.
    pub manager: Arc<Manager>,
    /// The metrics that `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the router shuts down and should get no more requests.
    pub ending: CancellationToken,
}

/// Returns the routes `/livez`, `/readyz` and `/metrics`.
pub fn router(state: HealthState) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(state)
}

async fn ready(State(state): State<HealthState>) -> (StatusCode, &'static str) {
    if state.ending.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
    } else if state.manager.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the sessions are not loaded yet\n")
    }
}

async fn metrics(State(state): State<HealthState>) -> impl IntoResponse {
    let counts = state.manager.counts().map(|(state, count)| (state.as_str(), count));
    let content_type = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    let manager = &state.manager;
    state.metrics.set_following(&manager.following());
    match state.metrics.render(counts, manager.is_leader(), manager.conflicts()) {
        Ok(text) => (StatusCode::OK, content_type, text),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, content_type, String::new()),
    }
}
