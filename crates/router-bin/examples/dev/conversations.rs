//! Running sessions, each with a fake opencode: one that waits for its user, one whose agent is at work, one
//! whose agent asks something, one that no longer answers.

use std::time::{Duration, SystemTime};

use pod_manager::{
    ListeningPort, Manager, MemoryBackend,
    memory::FakeOpencode,
    model::{Endpoint, Phase, SessionStatus},
};
use session_key::Identity;
use tokio::time::sleep;

use super::states;

/// How often the busy agent writes another message.
const WRITING_INTERVAL: Duration = Duration::from_secs(6);
const TEXTS: [&str; 3] = [
    "I'll measure first. `cargo bench` shows that nine tenths of the time are spent in `Widget::render`.",
    "The cause is a copy of the whole tree for each widget. I'll pass a reference instead.",
    "Done: 41 ms → 3.2 ms for a page of 500 widgets. The tests pass. Shall I also do the same for `Panel`?",
];

/// The opencodes of the sessions; they end when this is dropped.
pub(crate) struct Conversations {
    busy: Opencode,
    silent: (SessionStatus, Opencode),
    _others: [Opencode; 3],
}

/// A fake opencode with its only conversation.
struct Opencode {
    fake: FakeOpencode,
    conversation: String,
}

impl Conversations {
    /// Shows the running sessions, except the one that stops answering.
    pub(crate) async fn start(
        backend: &MemoryBackend,
        user: &Identity,
        now: SystemTime,
    ) -> anyhow::Result<Self> {
        let start = async |name: &str| {
            let fake = FakeOpencode::start(None).await;
            fake.enable_events();
            let conversation = fake.create_conversation("Speed up the widgets");
            let endpoint = Endpoint { address: fake.address(), password: None, run_id: name.into() };
            let status = states::status(user, name, Phase::Running(endpoint), now)?;
            anyhow::Ok((status, Opencode { fake, conversation }))
        };
        let (idle_status, idle) = start("running-idle").await?;
        for (number, text) in (1..).zip(TEXTS) {
            idle.fake.answer(&idle.conversation, number, text, false);
        }
        let (busy_status, busy) = start("running-busy").await?;
        busy.fake.set_busy(true);
        let server = |port, process: &str| ListeningPort { port, process: Some(process.into()) };
        backend.set_ports(busy_status.session.hash, vec![server(5173, "vite"), server(8080, "api")]);
        let (asking_status, asking) = start("running-asking").await?;
        asking.fake.answer(&asking.conversation, 1, "May I delete the folder `dist`?", false);
        asking.fake.set_busy(true);
        asking.fake.set_question(FakeOpencode::CHILD, true);
        for status in [idle_status, busy_status, asking_status] {
            backend.show(status);
        }
        // The one of all sessions that start later.
        let (_, next) = start("running-next").await?;
        backend.set_endpoint(next.fake.address(), None);
        let silent = start("running-not-answering").await?;
        Ok(Self { busy, silent, _others: [idle, asking, next] })
    }

    /// Lets the busy agent write, and shows a session whose opencode stops answering once the session is
    /// open. Never returns.
    pub(crate) async fn go_on(&self, backend: &MemoryBackend, manager: &Manager) {
        tokio::join!(self.write(), self.fall_silent(backend, manager));
    }

    async fn write(&self) {
        for (number, text) in (1..).zip(TEXTS.iter().cycle()) {
            sleep(WRITING_INTERVAL).await;
            self.busy.fake.answer(&self.busy.conversation, number, text, true);
        }
    }

    async fn fall_silent(&self, backend: &MemoryBackend, manager: &Manager) {
        let (status, opencode) = &self.silent;
        manager.ready().await;
        let mut openings = manager.openings();
        backend.show(status.clone());
        while let Ok(opening) = openings.recv().await {
            if opening.hash == status.session.hash {
                opencode.fake.set_unresponsive(true);
                opencode.fake.end_event_streams();
            }
        }
    }
}
