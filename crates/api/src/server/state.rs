//! What every handler shares: the manager, the settings, and how a session is written on the wire.

use std::{sync::Arc, time::Duration};

use pod_manager::{Manager, View};
use session_key::{HostScheme, Identity, RepoPolicy};
use tokio_util::sync::CancellationToken;

use super::{
    github_access::Github,
    stream_limit::{MAX_MESSAGE_STREAMS, StreamLimit},
};
use crate::{view, wire};

/// The settings of the routes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The host names of sessions.
    pub scheme: HostScheme,
    /// `http` or `https`: how browsers reach those names.
    pub proto: String,
    /// Which repository addresses are accepted.
    pub repos: RepoPolicy,
    /// The repository that the site suggests.
    pub default_repo: Option<String>,
    /// The router's version.
    pub version: String,
    /// How long a request body may take to arrive; [`BODY_DEADLINE`](super::BODY_DEADLINE) outside tests.
    pub body_deadline: Duration,
}

/// The state of every handler.
#[derive(Clone)]
pub struct ApiState {
    pub(super) manager: Arc<Manager>,
    pub(super) settings: Arc<Settings>,
    pub(super) github: Github,
    pub(super) message_streams: StreamLimit,
    /// Ends the event streams when cancelled.
    pub(super) shutdown: CancellationToken,
}

impl ApiState {
    /// Creates the state of routes over this manager.
    ///
    /// Once `shutdown` is cancelled, event streams end, so that a server that drains does not wait for them.
    /// Other requests are answered as before.
    #[must_use]
    pub fn new(
        manager: Arc<Manager>,
        settings: Settings,
        github: Github,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            manager,
            settings: Arc::new(settings),
            github,
            message_streams: StreamLimit::new(MAX_MESSAGE_STREAMS),
            shutdown,
        }
    }

    pub(super) fn session(&self, view: &View) -> wire::Session {
        let session = view::session(view, self.url(view), Some(self.manager.idle_timeout()));
        let attach_url = Some(self.attach_url(session.hash));
        let ports = view::ports(view, &self.settings.scheme, &self.settings.proto);
        wire::Session { attach_url, ports, ..session }
    }

    pub(super) fn session_state(&self, view: &View) -> wire::SessionState {
        wire::SessionState {
            hash: view.status.session.hash,
            url: self.url(view),
            state: view::state(view.state),
        }
    }

    pub(super) fn session_list(&self, caller: &Identity) -> wire::SessionList {
        let sessions = self.manager.list(caller).iter().map(|view| self.session(view)).collect();
        wire::SessionList::newest_first(caller.email(), sessions)
    }

    fn url(&self, view: &View) -> Option<String> {
        view::url(view, &self.settings.scheme, &self.settings.proto)
    }
}
