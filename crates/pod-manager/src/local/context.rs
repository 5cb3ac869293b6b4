//! What the tasks of all sessions share.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use session_key::SessionHash;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    config::LocalSettings, event::Request, port_finder::PortFinder, ports::Ports, secret_files::SecretFiles,
    state_folder::StateFolder,
};
use crate::{clock::Clock, opencode::health::HealthChecks, publisher::Publisher};

/// What the tasks of all sessions share.
pub(super) struct Context {
    pub(super) settings: LocalSettings,
    pub(super) folder: StateFolder,
    pub(super) secrets: SecretFiles,
    pub(super) publisher: Arc<Publisher>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) health_checks: HealthChecks,
    pub(super) ports: Ports,
    pub(super) port_finder: Arc<PortFinder>,
    pub(super) inboxes: Inboxes,
    /// Cancelled when sessions are to stop in an orderly way.
    pub(super) closing: CancellationToken,
    /// Cancelled when everything is to end at once.
    pub(super) dropped: CancellationToken,
}

type InboxMap = BTreeMap<SessionHash, mpsc::UnboundedSender<Request>>;

/// The inboxes of the sessions' tasks.
#[derive(Default)]
pub(super) struct Inboxes(Mutex<InboxMap>);

impl Inboxes {
    /// Locks the map. Requests are sent, and tasks are spawned, only under this lock.
    pub(super) fn lock(&self) -> MutexGuard<'_, InboxMap> {
        self.0.lock()
    }

    /// Removes the inbox of a session that is gone. Returns false if a request arrived meanwhile.
    pub(super) fn retire(&self, hash: SessionHash, inbox: &mpsc::UnboundedReceiver<Request>) -> bool {
        let mut inboxes = self.0.lock();
        // Senders hold the lock: an empty inbox stays empty.
        if inbox.is_empty() {
            inboxes.remove(&hash);
            return true;
        }
        false
    }
}
