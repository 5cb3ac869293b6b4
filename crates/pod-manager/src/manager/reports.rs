//! What sessions report about themselves.

use session_key::SessionHash;

use super::manager::Manager;
use crate::model::Phase;

impl Manager {
    /// Returns the secret with which the session's Pod identifies itself; `None` unless the session runs.
    pub fn pod_secret(&self, hash: SessionHash) -> Option<String> {
        let view = self.index.get(hash)?.view()?;
        match &view.status.phase {
            Phase::Running(endpoint) => endpoint.password.as_ref().map(crate::model::Password::pod_secret),
            _ => None,
        }
    }
}
