//! Audit lines for what is done by the API.

use std::sync::Arc;

use api::server::{AuditRecord, ErrorCode};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use session_key::Identity;

use crate::{logging::Audit, shield::RequestId};

/// Writes a line for each request that changed a session, or was refused to.
pub(crate) async fn note(State(audit): State<Arc<Audit>>, request: Request, next: Next) -> Response {
    let user = request.extensions().get::<Identity>().cloned();
    let id = request.extensions().get::<RequestId>().cloned();
    let response = next.run(request).await;
    if let Some(AuditRecord { action, hash }) = response.extensions().get().copied() {
        let why = response.extensions().get::<ErrorCode>().map_or("", |code| code.0);
        audit.note(action, user.as_ref(), hash, id.as_ref().map_or("", RequestId::as_str), why);
    }
    response
}
