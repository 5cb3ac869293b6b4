//! The health listener: liveness, readiness with conditions, and metrics.
//!
//! The operator is ready once it has listed claims and IngressRoutes, whether it leads or not. Cloudflare's
//! outage, a wrong token and conflicts are conditions that `/readyz` shows, but they do not make it unready:
//! nobody reaches the operator through a Service, and in the router's Pod, where the TypeScript operator
//! runs, an unready operator would take the router from the network.

use std::{sync::Arc, time::SystemTime};

use axum::{Json, Router, extract::State, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use pod_manager::kubernetes::leader::LeaderElector;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    controller::Context,
    status::{Half, HalfStatus, PassState},
};

/// The state of the routes.
#[derive(Clone)]
pub struct HealthState {
    /// What is listed, and how both halves are doing.
    pub context: Arc<Context>,
    /// Knows whether this process writes.
    pub leader: Arc<LeaderElector>,
    /// Cancelled when the process ends.
    pub stop: CancellationToken,
}

/// Returns the routes `/livez`, `/healthz`, `/readyz` and `/metrics`.
pub fn router(state: HealthState) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(state)
}

async fn ready(State(state): State<HealthState>) -> (StatusCode, Json<Value>) {
    let context = &state.context;
    let listed = |condition: &str, is_synced: bool, error: Option<String>| {
        let reason = match (is_synced, &error) {
            (true, None) => "Listed",
            (true, Some(_)) => "WatchFailing",
            (false, _) => "NotListed",
        };
        json!({ "type": condition, "status": truth(is_synced), "reason": reason,
            "message": error.unwrap_or_default() })
    };
    let claims = (context.claims.objects().is_some(), context.claims.error());
    let routes = (context.routes.objects().is_some(), context.routes.error());
    let is_ready = claims.0 && routes.0 && !state.stop.is_cancelled();
    let is_leader = state.leader.is_leader();
    let body = json!({
        "ready": is_ready,
        "leader": is_leader,
        "conditions": [
            listed("ClaimsListed", claims.0, claims.1),
            listed("RoutesListed", routes.0, routes.1),
            condition("RoutesReconciled", &context.status.of(Half::Kubernetes), is_leader),
            condition("CloudflareReconciled", &context.status.of(Half::Cloudflare), is_leader),
        ],
        "skippedClaims": context.status.skipped(),
    });
    (if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

/// Returns a condition in the form of Kubernetes.
fn condition(name: &str, status: &HalfStatus, is_leader: bool) -> Value {
    let (truth, reason, message) = match &status.state {
        PassState::Waiting if is_leader => {
            ("Unknown", "Pending", "the first pass has not ended yet".to_owned())
        }
        PassState::Waiting => ("Unknown", "Standby", "another process leads".to_owned()),
        PassState::Failed { reason, message } => ("False", reason.as_str(), message.clone()),
        PassState::Succeeded if status.conflicts.is_empty() => ("True", "Reconciled", String::new()),
        PassState::Succeeded => ("True", "Conflicts", format!("{} conflict(s)", status.conflicts.len())),
    };
    json!({
        "type": name,
        "status": truth,
        "reason": reason,
        "message": message,
        "conflicts": status.conflicts,
        "notes": status.notes,
        "lastSuccess": status.last_success.and_then(seconds_since_epoch),
        "backoffSeconds": status.backoff.as_secs(),
    })
}

fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

fn seconds_since_epoch(time: SystemTime) -> Option<u64> {
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

async fn metrics(State(state): State<HealthState>) -> impl IntoResponse {
    let status = &state.context.status;
    let halves = Half::ALL.map(|half| (half, status.of(half)));
    let content_type = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    let text = state.context.metrics.render(&halves, status.skipped().len(), state.leader.is_leader());
    match text {
        Ok(text) => (StatusCode::OK, content_type, text),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, content_type, String::new()),
    }
}
