//! What an administrator asks for: every user's sessions, and commands on them. Nothing here leads to what a
//! session contains: no address, title or message, and [`route`](Manager::route) knows owners alone.

use std::{collections::HashMap, sync::Arc};

use session_key::{Identity, SessionHash};

use super::{
    error::ManagerError,
    manager::Manager,
    view::{View, ViewState},
};
use crate::backend::Usage;

impl Manager {
    /// Returns the sessions of all users.
    pub fn list_all(&self) -> Vec<Arc<View>> {
        self.index.all().iter().filter_map(|entry| entry.view()).collect()
    }

    /// Returns where the sessions of all users run and what they use, as far as the backend knows.
    pub async fn usage(&self) -> HashMap<SessionHash, Usage> {
        self.backend.usage().await
    }

    /// Returns the ports on which any user's session listens, in order; none if it does not run.
    pub fn ports_of_any(&self, hash: SessionHash) -> Vec<u16> {
        let view = self.index.get(hash).and_then(|entry| entry.view());
        view.map(|view| view.ports.listening.iter().map(|listening| listening.port).collect())
            .unwrap_or_default()
    }

    /// Stops any user's session, as [`stop`](Manager::stop) does for its owner.
    ///
    /// # Errors
    /// [`ManagerError`]
    pub async fn stop_any(&self, hash: SessionHash) -> Result<ViewState, ManagerError> {
        Ok(self.stop(&self.owner(hash)?, hash).await?.state)
    }

    /// Deletes any user's session, as [`delete`](Manager::delete) does for its owner.
    ///
    /// # Errors
    /// [`ManagerError`]
    pub async fn delete_any(&self, hash: SessionHash) -> Result<(), ManagerError> {
        self.delete(&self.owner(hash)?, hash).await
    }

    /// Returns the log of any user's session, as [`logs`](Manager::logs) does for its owner.
    ///
    /// # Errors
    /// [`ManagerError`]
    pub async fn logs_of_any(&self, hash: SessionHash, lines: usize) -> Result<String, ManagerError> {
        self.logs(&self.owner(hash)?, hash, lines).await
    }

    fn owner(&self, hash: SessionHash) -> Result<Identity, ManagerError> {
        self.check_ready()?;
        self.index.get(hash).map(|entry| entry.owner.clone()).ok_or(ManagerError::NotFound)
    }
}
