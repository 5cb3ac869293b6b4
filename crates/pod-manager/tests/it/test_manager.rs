//! A manager over the in-memory backend and a fake opencode, with a clock that the test moves.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use pod_manager::{
    Clock, Created, Credentials, Manager, ManagerSettings, ManualClock, MemoryBackend, NewSession, Password,
    Source, View, ViewState,
    memory::{FakeOpencode, Restart},
};
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

const TIMEOUT: Duration = Duration::from_secs(20);
pub(crate) const IDLE: Duration = Duration::from_secs(30 * 60);

pub(crate) struct TestManager {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) backend: Arc<MemoryBackend>,
    pub(crate) opencode: FakeOpencode,
    pub(crate) manager: Arc<Manager>,
    settings: ManagerSettings,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

/// Settings with short intervals in real time. What depends on wall time follows the manual clock.
pub(crate) fn fast_settings() -> ManagerSettings {
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

impl TestManager {
    pub(crate) async fn new() -> Self {
        Self::with(fast_settings()).await
    }

    pub(crate) async fn with(settings: ManagerSettings) -> Self {
        let password = Password::new("geheim");
        let clock = Arc::new(ManualClock::default());
        let backend = MemoryBackend::new(clock.clone());
        let opencode = FakeOpencode::start(Some(password.clone())).await;
        backend.set_endpoint(opencode.address(), Some(password));
        let manager = Manager::new(backend.clone(), backend.clone(), clock.clone(), settings.clone());
        let mut test = Self { clock, backend, opencode, manager, settings, running: None };
        test.run().await;
        test
    }

    async fn run(&mut self) {
        let stop = CancellationToken::new();
        self.running = Some((stop.clone(), tokio::spawn(self.manager.clone().run(stop))));
        timeout(TIMEOUT, self.manager.ready()).await.expect("ready");
    }

    /// Ends the manager in good order.
    pub(crate) async fn end(&mut self) {
        let (stop, running) = self.running.take().expect("a running manager");
        stop.cancel();
        timeout(TIMEOUT, running).await.expect("the end in time").expect("no panic");
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

    pub(crate) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Creates a session of alice.
    pub(crate) async fn create(&self, name: &str) -> Created {
        self.manager.create(&alice(), repository(name, None), Credentials::NONE).await.expect("create")
    }

    /// Creates a session of alice, and waits until it runs.
    pub(crate) async fn create_running(&self, name: &str) -> SessionHash {
        let hash = self.create(name).await.view.status.session.hash;
        self.wait_state(hash, ViewState::Running).await;
        hash
    }

    /// Returns alice's session.
    pub(crate) fn view(&self, hash: SessionHash) -> Arc<View> {
        self.manager.get(&alice(), hash).expect("a session")
    }

    pub(crate) fn state(&self, hash: SessionHash) -> ViewState {
        self.view(hash).state
    }

    pub(crate) async fn wait_state(&self, hash: SessionHash, state: ViewState) -> Arc<View> {
        self.wait_for(hash, |view| view.state == state).await
    }

    /// Waits until the view of alice's session fulfils `expected`.
    pub(crate) async fn wait_for(&self, hash: SessionHash, expected: impl Fn(&View) -> bool) -> Arc<View> {
        let mut subscription = self.manager.subscribe(&alice());
        let found = async {
            loop {
                if let Some(view) = self.manager.get(&alice(), hash)
                    && expected(&view)
                {
                    return view;
                }
                subscription.changed().await;
            }
        };
        match timeout(TIMEOUT, found).await {
            Ok(view) => view,
            Err(_) => panic!("not as expected in time: {:#?}", self.manager.get(&alice(), hash)),
        }
    }

    /// Waits until `condition` holds, by asking again and again: for what nothing notifies of.
    pub(crate) async fn eventually(&self, promise: &str, condition: impl Fn() -> bool) {
        let holds = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        assert!(timeout(TIMEOUT, holds).await.is_ok(), "{promise}");
    }
}

impl Drop for TestManager {
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
