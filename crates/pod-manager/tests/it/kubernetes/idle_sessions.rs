//! The manager over a real API server: which sessions are stopped as idle, and which are not.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use pod_manager::{
    Credentials, KubernetesBackend, Leadership, Manager, ManualClock, SessionBackend, StopReason,
    SystemClock, View, ViewState,
    kubernetes::testing::pod_status,
    memory::FakeOpencode,
    model::{FailureCode, Phase, Session},
};
use serde_json::json;
use session_key::SessionHash;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    cluster::TEST_TIMEOUT,
    contract::TestCluster,
    legacy::{ACTIVITY, leave},
};
use crate::test_manager::{IDLE, alice, fast_settings};

/// A router without HTTP, whose clock the test moves.
struct Router {
    backend: Arc<KubernetesBackend>,
    manager: Arc<Manager>,
    clock: Arc<ManualClock>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Router {
    async fn over(backend: Arc<KubernetesBackend>) -> Self {
        let clock = ManualClock::at(pod_manager::Clock::now(&SystemClock));
        let manager = Manager::new(backend.clone(), backend.clone(), clock.clone(), fast_settings());
        let stop = CancellationToken::new();
        let running = tokio::spawn(manager.clone().run(stop.clone()));
        timeout(TEST_TIMEOUT, manager.ready()).await.expect("ready");
        Self { backend, manager, clock, stop, running }
    }

    async fn when(&self, hash: SessionHash, what: &str, wanted: impl Fn(&View) -> bool) -> Arc<View> {
        let mut changes = self.manager.subscribe(&alice());
        let seen = timeout(TEST_TIMEOUT, async {
            loop {
                match self.manager.get(&alice(), hash) {
                    Some(view) if wanted(&view) => return view,
                    _ => changes.changed().await,
                }
            }
        });
        match seen.await {
            Ok(view) => view,
            Err(_) => panic!("it was not seen {what}: {:#?}", self.manager.get(&alice(), hash)),
        }
    }

    async fn until(&self, hash: SessionHash, state: ViewState) -> Arc<View> {
        self.when(hash, state.as_str(), |view| view.state == state).await
    }

    fn state(&self, hash: SessionHash) -> ViewState {
        self.manager.get(&alice(), hash).expect("it is there").state
    }

    /// Shuts the router down, which releases its Lease.
    async fn end(self) {
        self.stop.cancel();
        timeout(TEST_TIMEOUT, self.running).await.expect("it ends").expect("without a panic");
        self.backend.shutdown().await;
    }
}

/// Waits until the router is the leader.
async fn wait_leader(backend: &KubernetesBackend) {
    let held = async {
        while !backend.is_leader() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(TEST_TIMEOUT, held).await.expect("it holds the Lease");
}

/// Creates a session of the TypeScript router, and waits until its opencode runs.
async fn left_running(test: &TestCluster) -> (Session, Arc<FakeOpencode>) {
    let session = test.session();
    leave(test, &session, true).await;
    let opencode = timeout(TEST_TIMEOUT, test.node.opencode(session.hash)).await.expect("opencode runs");
    (session, opencode)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_the_typescript_router_is_stopped_once_this_router_saw_it_idle_long_enough() {
    let Some(test) = TestCluster::new().await else { return };
    let (session, opencode) = left_running(&test).await;
    let router = Router::over(test.backend()).await;
    wait_leader(&router.backend).await;
    let hash = session.hash;
    let view = router.until(hash, ViewState::Running).await;
    let activity: jiff::Timestamp = ACTIVITY.parse().expect("a time");
    assert_eq!(view.last_activity, SystemTime::from(activity), "nobody used it for days");

    // This router has not seen the session idle for long enough.
    router.clock.advance(IDLE - Duration::from_secs(1));
    opencode.wait_for_probes(3).await;
    assert_eq!(router.state(hash), ViewState::Running);
    // Activity of a user counts.
    router.manager.touch(hash);
    router.clock.advance(IDLE - Duration::from_secs(1));
    opencode.wait_for_probes(3).await;
    assert_eq!(router.state(hash), ViewState::Running);
    assert_eq!(test.objects(hash).await[..2], [1, 1]);

    router.clock.advance(Duration::from_secs(1));
    let view = router.until(hash, ViewState::Stopped).await;
    assert_eq!(view.status.phase, Phase::Stopped(StopReason::Idle));
    assert!(view.last_activity > SystemTime::from(activity), "when it was used last is not lost");
    assert_eq!(test.objects(hash).await[..2], [1, 0], "the claim stays, the Pod does not");

    router.manager.resume(&alice(), hash, Credentials::NONE).await.expect("resume");
    let view = router.until(hash, ViewState::Running).await;
    assert!(view.endpoint().expect("it runs").password.is_some(), "now it has a password");
    assert_eq!(test.objects(hash).await[..2], [1, 1]);
    assert_eq!(test.node.max_process_count(hash), 1);
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_or_unreachable_session_is_not_stopped_as_idle() {
    let Some(test) = TestCluster::new().await else { return };
    let (left, old) = left_running(&test).await;
    let router = Router::over(test.backend()).await;
    wait_leader(&router.backend).await;
    router.until(left.hash, ViewState::Running).await;
    let own = test.session();
    for (session, opencode) in [(&left, Some(old)), (&own, None)] {
        let hash = session.hash;
        let opencode = match opencode {
            Some(there) => there,
            None => {
                router.backend.start(session, Credentials::NONE).await.expect("start");
                router.until(hash, ViewState::Running).await;
                timeout(TEST_TIMEOUT, test.node.opencode(hash)).await.expect("opencode runs")
            }
        };
        opencode.set_busy(true);
        router.when(hash, "busy", |view| view.busy).await;
        router.clock.advance(3 * IDLE);
        opencode.wait_for_probes(3).await;
        assert_eq!(router.state(hash), ViewState::Running, "an agent is at work");
        for (status, why) in [
            (Some(401), "opencode answered with status 401"),
            (Some(500), "opencode answered with status 500"),
            (None, "opencode can't be reached: "),
        ] {
            opencode.refuse_all(status);
            opencode.set_unresponsive(status.is_none());
            let says = |view: &View| view.probe_error.as_ref().is_some_and(|said| said.starts_with(why));
            router.when(hash, why, says).await;
            router.clock.advance(3 * IDLE);
            opencode.wait_for_probes(3).await;
            let view = router.manager.get(&alice(), hash).expect("it is there");
            assert_eq!(view.state, ViewState::Running, "{why}");
            assert!(says(&view), "it says so: {view:#?}");
            assert_eq!(test.objects(hash).await[..2], [1, 1], "{why}");
        }
        opencode.set_busy(false);
        opencode.set_unresponsive(false);
        // It may have worked until now, so the timeout begins when it is seen idle.
        router.when(hash, "idle", |view| !view.busy && view.probe_error.is_none()).await;
        router.clock.advance(3 * IDLE);
        let view = router.when(hash, "stopped", |view| view.state == ViewState::Stopped).await;
        assert_eq!(view.status.phase, Phase::Stopped(StopReason::Idle), "once it says that nothing is done");
        assert_eq!(view.probe_error, None);
    }
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_leader_stops_idle_sessions() {
    let Some(test) = TestCluster::new().await else { return };
    let holder = test.backend();
    wait_leader(&holder).await;
    let (session, opencode) = left_running(&test).await;
    let router = Router::over(test.backend()).await;
    router.until(session.hash, ViewState::Running).await;
    router.clock.advance(3 * IDLE);
    opencode.wait_for_probes(10).await;
    assert_eq!(router.state(session.hash), ViewState::Running);
    assert!(!router.backend.is_leader());
    holder.shutdown().await;
    wait_leader(&router.backend).await;
    // It first waits for activity that the last leader may have seen and not yet stored.
    opencode.wait_for_probes(10).await;
    assert_eq!(router.state(session.hash), ViewState::Running);
    router.clock.advance(2 * fast_settings().activity_write_interval);
    router.until(session.hash, ViewState::Stopped).await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unresponsive_session_that_ran_before_the_router_is_left_running() {
    let Some(test) = TestCluster::new().await else { return };
    let (session, opencode) = left_running(&test).await;
    let (fresh, never) = (test.session(), test.session());
    // The session has been running for days.
    let name = format!("opencode-session-{}", session.hash);
    let pod = test.node.pods().get(&name).await.expect("a Pod");
    let done = json!({ "terminated": { "exitCode": 0, "startedAt": ACTIVITY, "finishedAt": ACTIVITY } });
    let ip = opencode.address().ip();
    let up = json!({ "init": done, "opencode": { "running": { "startedAt": ACTIVITY } }, "ip": ip });
    test.node.set_status(&pod, &pod_status(&up)).await.expect("said");
    opencode.refuse_all(Some(401));

    let mut settings = test.cluster.settings.clone();
    settings.ready_timeout = Duration::from_secs(2);
    let client = test.cluster.router.clone();
    let router = Router::over(KubernetesBackend::start_up(client, settings, Arc::new(SystemClock))).await;
    wait_leader(&router.backend).await;
    let view = router.until(session.hash, ViewState::Failed).await;
    let Phase::Failed(failure) = &view.status.phase else { unreachable!("just looked at") };
    assert_eq!(failure.code, FailureCode::OpencodeNotReady);
    // A new session that never answers fails, and its Pod is deleted; by then the old one's would be deleted,
    // too.
    test.node.refuse_all(never.hash, Some(500));
    router.backend.start(&never, Credentials::NONE).await.expect("start");
    router.until(never.hash, ViewState::Failed).await;
    let gone = async {
        while test.objects(never.hash).await[1] != 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TEST_TIMEOUT, gone).await.expect("the Pod that never answered is gone");
    router.backend.start(&fresh, Credentials::NONE).await.expect("start");
    router.until(fresh.hash, ViewState::Running).await;
    let there = test.node.pods().get(&name).await.expect("a Pod");
    assert_eq!((there.metadata.uid, there.metadata.deletion_timestamp), (pod.metadata.uid, None));

    // The session is probed forever.
    opencode.refuse_all(None);
    router.until(session.hash, ViewState::Running).await;
    router.end().await;
}
