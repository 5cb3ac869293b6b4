//! What a request did to a session or to its user's secrets, for the audit of the layers in front.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use session_key::SessionHash;

use super::{error::ErrorResponse, extract::SessionPath};

/// What a request did: an extension of each response of a route that changes a session or secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditRecord {
    /// What was done.
    pub action: AuditAction,
    /// The session; `None` if the request was refused before there was one, or concerns no session.
    pub hash: Option<SessionHash>,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditAction {
    /// Its owner created it.
    Created,
    /// Its owner opened its page in a browser.
    Opened,
    /// A client with a token attached to it.
    Attached,
    /// Its owner created a token for `opencode attach`.
    AttachTokenCreated,
    /// Its owner revoked one or all of those tokens.
    AttachTokenRevoked,
    /// Its owner started it again.
    Resumed,
    /// A request of its owner to the stopped session started it again.
    Woken,
    /// Its owner stopped it.
    Stopped,
    /// Its owner deleted it and all of its files.
    Deleted,
    /// An administrator stopped it.
    AdminStopped,
    /// An administrator deleted it and all of its files.
    AdminDeleted,
    /// An administrator read its log.
    AdminReadLogs,
    /// A user set some of their own secrets.
    SecretsSet,
    /// A user replaced all of their own secrets.
    SecretsReplaced,
    /// A user deleted some or all of their own secrets.
    SecretsDeleted,
    /// A pipeline had an image pulled.
    ImagePulled,
    /// The request was refused.
    Refused,
}

impl AuditAction {
    fn concerns_secrets(self) -> bool {
        matches!(self, Self::SecretsSet | Self::SecretsReplaced | Self::SecretsDeleted)
    }
}

/// Attaches an [`AuditRecord`] to the response of a route, unless its handler did: `action` or the refusal,
/// and the session of the path.
pub(super) async fn attach(
    State(action): State<AuditAction>,
    path: Result<SessionPath, ErrorResponse>,
    request: Request,
    next: Next,
) -> Response {
    // The path of a secret may look like a session's.
    let hash = path.ok().map(|SessionPath(hash)| hash).filter(|_| !action.concerns_secrets());
    let mut response = next.run(request).await;
    let action = if response.status().is_success() { action } else { AuditAction::Refused };
    response.extensions_mut().get_or_insert(AuditRecord { action, hash });
    response
}
