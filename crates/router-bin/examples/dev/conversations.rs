//! Running sessions, each with a fake opencode: one that waits for its user, one whose agent is at work, one
//! that no longer answers.

use std::time::SystemTime;

use pod_manager::{
    Manager, MemoryBackend,
    memory::FakeOpencode,
    model::{Endpoint, Phase, SessionStatus},
};
use session_key::Identity;

use super::states;

/// The opencodes of the sessions; they end when this is dropped.
pub(crate) struct Conversations {
    silent: (SessionStatus, FakeOpencode),
    _others: [FakeOpencode; 3],
}

impl Conversations {
    /// Shows the running sessions, except the one that [stops answering](Conversations::fall_silent).
    pub(crate) async fn start(
        backend: &MemoryBackend,
        user: &Identity,
        now: SystemTime,
    ) -> anyhow::Result<Self> {
        let start = async |name: &str| {
            let opencode = FakeOpencode::start(None).await;
            opencode.create_conversation("Speed up the widgets");
            let endpoint = Endpoint { address: opencode.address(), password: None, run_id: name.into() };
            anyhow::Ok((states::status(user, name, Phase::Running(endpoint), now)?, opencode))
        };
        let (idle, busy) = (start("running-idle").await?, start("running-busy").await?);
        busy.1.set_busy(true);
        backend.show(idle.0);
        backend.show(busy.0);
        // The one of all sessions that start later.
        let next = FakeOpencode::start(None).await;
        backend.set_endpoint(next.address(), None);
        Ok(Self { silent: start("running-not-answering").await?, _others: [idle.1, busy.1, next] })
    }

    /// Shows a session whose opencode stops answering once the session is open. Never returns.
    pub(crate) async fn fall_silent(&self, backend: &MemoryBackend, manager: &Manager) {
        let (status, opencode) = &self.silent;
        manager.ready().await;
        let mut openings = manager.openings();
        backend.show(status.clone());
        while let Ok(opening) = openings.recv().await {
            if opening.hash == status.session.hash {
                opencode.set_unresponsive(true);
            }
        }
        std::future::pending::<()>().await;
    }
}
