//! What the machinery around the router asks: does it live, may it be sent requests, what does it count.

use std::sync::Arc;

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use pod_manager::manager::Manager;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// What the answers are made from.
#[derive(Clone)]
pub struct Health {
    /// Knows whether sessions are known yet, and how many there are.
    pub manager: Arc<Manager>,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// Cancelled once the router is ending: it wants no more requests then.
    pub ending: CancellationToken,
}

/// `/livez`, `/readyz` and `/metrics`.
pub fn router(health: Health) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.ending.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "the router is ending\n")
    } else if health.manager.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the sessions are not known yet\n")
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    let counts = health.manager.counts().map(|(state, count)| (state.as_str(), count));
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    let manager = &health.manager;
    match health.metrics.render(counts, manager.is_leader(), manager.conflicts()) {
        Ok(text) => (StatusCode::OK, kind, text),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, kind, String::new()),
    }
}
