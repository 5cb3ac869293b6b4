//! Log lines, and the audit among them. No line holds an e-mail address, a token or a secret.

use std::{
    fs,
    io::{self, IsTerminal as _, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use api::server::AuditAction;
use session_key::{Identity, SessionHash};
use sha2::{Digest, Sha256};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{Config, LogFormat};

/// The target of audit lines; they are logged at `info`, whatever LOG_LEVEL says of the rest.
pub const AUDIT: &str = "audit";

/// Begins to log to standard error, as configured. To be called once in a process.
///
/// # Errors
/// Something logs already.
pub fn begin(config: &Config) -> anyhow::Result<()> {
    let mut directives = config.log_level.clone();
    if !directives.contains(AUDIT) {
        directives.push_str(",audit=info");
    }
    // Each failed request, at `error`; what comes of it is said where it is dealt with.
    if !directives.contains("kube_client") {
        directives.push_str(",kube_client::client::builder=off");
    }
    let registry = tracing_subscriber::registry().with(EnvFilter::try_new(directives)?);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    match config.log_format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_span_list(false)).try_init(),
        LogFormat::Text if io::stderr().is_terminal() => registry.with(layer.compact()).try_init(),
        LogFormat::Text => registry.with(layer.compact().with_ansi(false)).try_init(),
    }?;
    Ok(())
}

/// Writes who did what to which session, so that it can be told apart later without naming anyone: users
/// appear as a digest with a key that only this router, or its replicas, have.
pub struct Audit {
    key: [u8; 32],
}

impl Audit {
    /// With the key in `folder`, made there where it is missing, so that a user's digest stays the same.
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
        // A key that was cut off half-way would stop every later start: it gets its name once it is whole.
        let fresh = folder.join("audit-key.new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&key)?;
        file.sync_all()?;
        fs::rename(fresh, path)?;
        Ok(Self { key })
    }

    /// With a key made of this text: the same in every router that is given it.
    #[must_use]
    pub fn keyed(text: &str) -> Self {
        let key = Sha256::new().chain_update("opencode-router audit key\0").chain_update(text).finalize();
        Self { key: key.into() }
    }

    /// With a key that nobody else has, and nobody will.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self { key: rand::random() }
    }

    /// The user as audit lines name them.
    #[must_use]
    pub fn digest(&self, who: &Identity) -> String {
        let digest = Sha256::new().chain_update(self.key).chain_update(who.email()).finalize();
        digest[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Writes one line.
    pub fn note(
        &self,
        action: AuditAction,
        who: Option<&Identity>,
        hash: Option<SessionHash>,
        request: &str,
        why: &str,
    ) {
        let (name, sentence) = in_words(action);
        tracing::info!(
            target: AUDIT,
            deed = name,
            session.hash = hash.map(tracing::field::display),
            user = who.map(|who| self.digest(who)),
            request.id = request,
            why = (!why.is_empty()).then_some(why),
            "{sentence}",
        );
    }
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Audit(…)")
    }
}

/// The name of an action in audit lines, and its sentence.
fn in_words(action: AuditAction) -> (&'static str, &'static str) {
    match action {
        AuditAction::Created => ("created", "a session was created"),
        AuditAction::Opened => ("opened", "a session was opened"),
        AuditAction::Resumed => ("resumed", "a session was resumed"),
        AuditAction::Stopped => ("stopped", "a session was stopped"),
        AuditAction::Deleted => ("deleted", "a session was deleted"),
        AuditAction::Refused => ("refused", "a request was refused"),
    }
}
