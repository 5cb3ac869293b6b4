//! The audit: log lines that say who did what to which session. Users appear as keyed digests, so the lines
//! name nobody.

use std::{
    fmt, fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use api::server::{AuditAction, AuditRecord, ErrorCode};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use session_key::{Identity, SessionHash};
use sha2::{Digest, Sha256};

use crate::request_id;

/// The tracing target of audit lines.
pub const TARGET: &str = "audit";

/// Writes audit lines.
pub struct Audit {
    /// Only this router, or its replicas, know the key: with it, a user's digest could be computed from the
    /// address.
    key: [u8; 32],
}

impl Audit {
    /// Opens the audit with the key in `folder`, which is created if it is missing, so that digests stay the
    /// same.
    ///
    /// # Errors
    /// The key can't be read or written.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join("audit-key");
        let mut key = [0; 32];
        match fs::File::open(&path) {
            Ok(mut file) => {
                file.read_exact(&mut key)?;
                return Ok(Self { key });
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        key = rand::random();
        // A partly written key would break every later start, so the file gets its name when it is complete.
        let new_path = folder.join("audit-key.new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new_path)?;
        file.write_all(&key)?;
        file.sync_all()?;
        fs::rename(new_path, path)?;
        Ok(Self { key })
    }

    /// Returns an audit with a key derived from `secret`. Replicas with the same secret write the same
    /// digests.
    #[must_use]
    pub fn keyed(secret: &str) -> Self {
        let key = Sha256::new().chain_update("opencode-router audit key\0").chain_update(secret).finalize();
        Self { key: key.into() }
    }

    /// Returns an audit with a random key.
    #[must_use]
    pub fn with_random_key() -> Self {
        Self { key: rand::random() }
    }

    /// Returns the user's digest in audit lines.
    #[must_use]
    pub fn digest(&self, user: &Identity) -> String {
        let digest = Sha256::new().chain_update(self.key).chain_update(user.email()).finalize();
        digest[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Writes a line. `code` is why the action was refused.
    pub fn write(
        &self,
        action: AuditAction,
        user: Option<&Identity>,
        hash: Option<SessionHash>,
        request_id: &str,
        code: Option<&str>,
    ) {
        let (name, message) = describe(action);
        tracing::info!(
            target: TARGET,
            action = name,
            session.hash = hash.map(tracing::field::display),
            user = user.map(|user| self.digest(user)),
            request.id = request_id,
            code,
            "{message}",
        );
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Audit(…)")
    }
}

/// An axum middleware that writes a line for each response with an [`AuditRecord`].
pub(crate) async fn middleware(State(audit): State<Arc<Audit>>, request: Request, next: Next) -> Response {
    let user = request.extensions().get::<Identity>().cloned();
    let id = request_id::of(request.extensions()).to_owned();
    let response = next.run(request).await;
    if let Some(AuditRecord { action, hash }) = response.extensions().get().copied() {
        let code = response.extensions().get::<ErrorCode>().map(|code| code.0);
        audit.write(action, user.as_ref(), hash, &id, code);
    }
    response
}

/// Returns the value of the field `action`, and the message.
fn describe(action: AuditAction) -> (&'static str, &'static str) {
    match action {
        AuditAction::Created => ("created", "session created"),
        AuditAction::Opened => ("opened", "session opened"),
        AuditAction::Woken => ("woken", "session started for a request"),
        AuditAction::Attached => ("attached", "client attached to session"),
        AuditAction::AttachTokenCreated => ("attach_token_created", "attach token created"),
        AuditAction::AttachTokenRevoked => ("attach_token_revoked", "attach token revoked"),
        AuditAction::Resumed => ("resumed", "session resumed"),
        AuditAction::Stopped => ("stopped", "session stopped"),
        AuditAction::Deleted => ("deleted", "session deleted"),
        AuditAction::AdminStopped => ("admin_stopped", "session stopped by an administrator"),
        AuditAction::AdminDeleted => ("admin_deleted", "session deleted by an administrator"),
        AuditAction::AdminReadLogs => ("admin_read_logs", "session's log read by an administrator"),
        AuditAction::SecretsSet => ("secrets_set", "secrets set"),
        AuditAction::SecretsReplaced => ("secrets_replaced", "secrets replaced"),
        AuditAction::SecretsDeleted => ("secrets_deleted", "secrets deleted"),
        AuditAction::ImagePulled => ("image_pulled", "image pull requested"),
        AuditAction::Refused => ("refused", "request refused"),
    }
}
