//! A manager over the backend in memory and a fake opencode, with a clock that the test moves.

use std::{sync::Arc, time::Duration};

use pod_manager::{
    Created, Credentials, Manager, ManagerSettings, ManualClock, MemoryBackend, NewSession, Password, Source,
    View, ViewState,
    memory::{FakeOpencode, Restart},
};
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const IDLE: Duration = Duration::from_secs(30 * 60);

pub(crate) struct House {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) backend: Arc<MemoryBackend>,
    pub(crate) opencode: FakeOpencode,
    pub(crate) manager: Arc<Manager>,
    pub(crate) settings: ManagerSettings,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

/// Waits in real time for little: every rule is told the time by the manual clock.
pub(crate) fn quick() -> ManagerSettings {
    ManagerSettings {
        idle_timeout: IDLE,
        probe_interval_watched: Duration::from_millis(5),
        probe_interval_unwatched: Duration::from_millis(5),
        min_probe_interval: Duration::from_millis(1),
        deliver_interval: Duration::from_millis(5),
        sweep_interval: Duration::from_millis(5),
        ..ManagerSettings::default()
    }
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(quick()).await
    }

    pub(crate) async fn with(settings: ManagerSettings) -> Self {
        let password = Password::new("geheim");
        let clock = Arc::new(ManualClock::default());
        let backend = MemoryBackend::new(clock.clone());
        let opencode = FakeOpencode::start(Some(password.clone())).await;
        backend.set_endpoint(opencode.address(), Some(password));
        let manager = Manager::new(backend.clone(), backend.clone(), clock.clone(), settings.clone());
        let mut house = Self { clock, backend, opencode, manager, settings, running: None };
        house.run().await;
        house
    }

    async fn run(&mut self) {
        let stop = CancellationToken::new();
        self.running = Some((stop.clone(), tokio::spawn(self.manager.clone().run(stop))));
        timeout(PATIENCE, self.manager.ready()).await.expect("ready");
    }

    /// Ends the manager in good order.
    pub(crate) async fn end(&mut self) {
        let (stop, running) = self.running.take().expect("it runs");
        stop.cancel();
        timeout(PATIENCE, running).await.expect("it ends").expect("without a panic");
    }

    /// Ends the manager as a crash would, and starts another one on the same storage.
    pub(crate) async fn restart(&mut self, restart: Restart) {
        if let Some((_, running)) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
        self.backend = self.backend.restart(restart);
        self.manager = Manager::new(
            self.backend.clone(),
            self.backend.clone(),
            self.clock.clone(),
            self.settings.clone(),
        );
        self.run().await;
    }

    pub(crate) async fn create(&self, name: &str) -> Created {
        self.manager.create(&alice(), repository(name, None), Credentials::NONE).await.expect("create")
    }

    /// Creates a session and waits until it runs.
    pub(crate) async fn running(&self, name: &str) -> SessionHash {
        let hash = self.create(name).await.view.status.session.hash;
        self.until(hash, ViewState::Running).await;
        hash
    }

    pub(crate) async fn until(&self, hash: SessionHash, state: ViewState) -> Arc<View> {
        self.when(hash, |view| view.state == state).await
    }

    pub(crate) async fn when(&self, hash: SessionHash, wanted: impl Fn(&View) -> bool) -> Arc<View> {
        let mut changes = self.manager.subscribe(&alice());
        let seen = async {
            loop {
                if let Some(view) = self.manager.get(&alice(), hash)
                    && wanted(&view)
                {
                    return view;
                }
                changes.changed().await;
            }
        };
        match timeout(PATIENCE, seen).await {
            Ok(view) => view,
            Err(_) => panic!("it did not become so: {:#?}", self.manager.get(&alice(), hash)),
        }
    }

    /// Waits until `what` holds; for what nobody tells of.
    pub(crate) async fn eventually(&self, why: &str, what: impl Fn() -> bool) {
        let holds = async {
            while !what() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        assert!(timeout(PATIENCE, holds).await.is_ok(), "{why}");
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some((stop, _)) = &self.running {
            stop.cancel();
        }
    }
}

pub(crate) fn alice() -> Identity {
    Identity::parse("alice@example.com").expect("an address")
}

pub(crate) fn bob() -> Identity {
    Identity::parse("bob@example.com").expect("an address")
}

pub(crate) fn repository(name: &str, message: Option<&str>) -> NewSession {
    let url = RepoUrl::parse(&format!("https://git.example.com/acme/{name}"), RepoPolicy::default());
    NewSession {
        source: Source::Repository {
            url: url.expect("a repository"),
            branch: GitRef::parse("main").expect("a branch"),
            from: None,
        },
        initial_message: message.map(str::to_owned),
    }
}
