//! What the manager sees, as its owner's browser and programs get it.

use pod_manager::View;
use session_key::Identity;

use super::ApiState;
use crate::{view, wire};

impl ApiState {
    pub(super) fn session(&self, view: &View) -> wire::Session {
        view::session(view, self.url(view), Some(self.manager.idle_timeout()))
    }

    pub(super) fn session_state(&self, view: &View) -> wire::SessionState {
        wire::SessionState {
            hash: view.status.session.hash,
            url: self.url(view),
            state: view::state(view.state),
        }
    }

    pub(super) fn session_list(&self, who: &Identity) -> wire::SessionList {
        let sessions = self.manager.list(who).iter().map(|view| self.session(view)).collect();
        wire::SessionList::newest_first(who.email(), sessions)
    }

    fn url(&self, view: &View) -> Option<String> {
        view::url(view, &self.settings.scheme, &self.settings.proto)
    }
}
