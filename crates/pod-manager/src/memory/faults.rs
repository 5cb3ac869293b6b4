//! How a test has made the backend behave.

use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use session_key::SessionHash;

use crate::{
    backend::BackendError,
    model::{Failure, Password, Stage},
};

/// The commands of [`SessionBackend`](crate::SessionBackend), for
/// [`MemoryBackend::refuse`](super::MemoryBackend::refuse) and
/// [`MemoryBackend::calls`](super::MemoryBackend::calls).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the methods of SessionBackend, by name")]
pub enum BackendCommand {
    Start,
    Stop,
    Delete,
    Touch,
    MarkFirstPromptSent,
    ChangeAttachTokens,
    Logs,
    UnsavedWork,
    UserSecrets,
}

/// What happened to the sessions' processes while there was no router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// They ended with the router, as child processes do.
    ProcessesEnded,
    /// They continued, as Pods do.
    ProcessesContinued,
}

pub(super) type Refuse = Arc<dyn Fn(BackendCommand) -> Option<BackendError> + Send + Sync>;

/// What is held, delayed, refused or fails.
#[derive(Clone)]
pub(super) struct Faults {
    pub(super) held: HashSet<Stage>,
    pub(super) hold_stops: bool,
    pub(super) failures: HashMap<SessionHash, Failure>,
    pub(super) delay: Duration,
    pub(super) refuse: Option<Refuse>,
    pub(super) is_leader: bool,
    pub(super) endpoint: (SocketAddr, Option<Password>),
    pub(super) endpoints: HashMap<SessionHash, (SocketAddr, Option<Password>)>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            held: HashSet::new(),
            hold_stops: false,
            failures: HashMap::new(),
            delay: Duration::ZERO,
            refuse: None,
            is_leader: true,
            // Port 9 (discard) of this machine, where nothing answers.
            endpoint: ((Ipv4Addr::LOCALHOST, 9).into(), None),
            endpoints: HashMap::new(),
        }
    }
}

impl Faults {
    pub(super) fn endpoint_of(&self, hash: SessionHash) -> (SocketAddr, Option<Password>) {
        self.endpoints.get(&hash).unwrap_or(&self.endpoint).clone()
    }
}
