//! A router is killed at any call of any command, and another one takes over.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use pod_manager::{
    Credentials, KubernetesBackend, SessionBackend, SystemClock, Token,
    contract::{Harness, WatchProbe},
    model::{Phase, Session, StopReason},
};
use tokio::time::{sleep, timeout};

use super::{cluster::TEST_TIMEOUT, contract::TestCluster, faults::Crash, link::Link};

/// How many routers are killed at the same time, each in its own namespace.
const AT_ONCE: usize = 18;

/// The command that the killed router is given.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verb {
    Create,
    CreateWithToken,
    Stop,
    Resume,
    ResumeWithToken,
    Replace,
    Delete,
    DeleteStopped,
    DeleteAndCreate,
}

const ALL: [Verb; 9] = [
    Verb::Create,
    Verb::CreateWithToken,
    Verb::Stop,
    Verb::Resume,
    Verb::ResumeWithToken,
    Verb::Replace,
    Verb::Delete,
    Verb::DeleteStopped,
    Verb::DeleteAndCreate,
];

/// The objects at the end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Runs,
    Stopped,
    Gone,
}

impl Verb {
    fn end(self) -> End {
        match self {
            Self::Stop => End::Stopped,
            Self::Delete | Self::DeleteStopped => End::Gone,
            _ => End::Runs,
        }
    }

    /// Brings the session to the state that the command needs.
    async fn prepare(self, backend: &dyn SessionBackend, session: &Session) {
        let mut probe = WatchProbe::new(backend, TEST_TIMEOUT);
        if matches!(self, Self::Create | Self::CreateWithToken) {
            return;
        }
        backend.start(session, &with_token()).await.expect("start");
        probe.wait_running(session.hash).await;
        if matches!(self, Self::Resume | Self::ResumeWithToken | Self::DeleteStopped) {
            backend.stop(session.hash, StopReason::Requested).await.expect("stop");
            probe.wait_stopped(session.hash).await;
        }
    }

    /// Gives the command, and waits for its result.
    async fn carry_out(self, backend: &dyn SessionBackend, session: &Session) {
        let hash = session.hash;
        let mut probe = WatchProbe::new(backend, TEST_TIMEOUT);
        probe.next().await;
        match self {
            Self::Create | Self::Resume => backend.start(session, Credentials::NONE).await.expect("start"),
            Self::CreateWithToken | Self::ResumeWithToken => {
                backend.start(session, &with_token()).await.expect("start");
            }
            Self::Stop => backend.stop(hash, StopReason::Requested).await.expect("stop"),
            Self::Replace => {
                backend.stop(hash, StopReason::Requested).await.expect("stop");
                backend.start(session, Credentials::NONE).await.expect("start");
            }
            Self::Delete | Self::DeleteStopped => backend.delete(hash).await.expect("delete"),
            Self::DeleteAndCreate => {
                backend.delete(hash).await.expect("delete");
                backend.start(session, Credentials::NONE).await.expect("start");
            }
        }
        match self.end() {
            End::Runs => drop(probe.wait_running(hash).await),
            End::Stopped => drop(probe.wait_stopped(hash).await),
            End::Gone => probe.wait_removed(hash).await,
        }
    }
}

fn with_token() -> Credentials {
    Credentials { github_token: Token::parse("gho_crash"), git_author: None }
}

/// Waits until the session is settled: as before the command, as after it, or deleted, and nothing in
/// between.
async fn at_rest(probe: &mut WatchProbe, session: &Session) -> End {
    probe.next().await;
    let rest = timeout(TEST_TIMEOUT, async {
        loop {
            match probe.status(session.hash).map(|seen| seen.phase.clone()) {
                None => return End::Gone,
                Some(Phase::Running(_)) => return End::Runs,
                Some(Phase::Stopped(_)) => return End::Stopped,
                Some(Phase::Failed(failure)) => panic!("it failed: {failure:?}"),
                Some(Phase::Starting | Phase::Stopping) => drop(probe.next().await),
            }
        }
    });
    rest.await.unwrap_or_else(|_| panic!("it is stuck: {:#?}", probe.history))
}

/// Returns whether the router was killed: a command makes only so many calls.
async fn crash(verb: Verb, crash: Crash) -> bool {
    let test = TestCluster::new().await.expect("asked only where there is a cluster");
    let session = test.session();
    let hash = session.hash;
    let first = test.backend();
    verb.prepare(&*first, &session).await;
    first.shutdown().await;
    drop(first);

    let link = Link::new().await;
    let settings = test.cluster.settings.clone();
    let ending = KubernetesBackend::start_up(link.client.clone(), settings, Arc::new(SystemClock));
    WatchProbe::new(&*ending, TEST_TIMEOUT).next().await;
    // Calls before the command (for passwords of running sessions) do not count.
    link.faults.crash(crash);
    let work: BoxFuture<'_, bool> = async {
        tokio::select! {
            () = verb.carry_out(&*ending, &session) => false,
            () = link.faults.crashed() => true,
        }
    }
    .boxed();
    let crashed = work.await;
    // A request that was sent arrives, though nobody waits for its response.
    if crash.arrives && crashed {
        sleep(Duration::from_millis(50)).await;
    }
    drop(ending);
    drop(link);

    // Another router starts, and the user repeats the command.
    let second = test.backend();
    let rest = at_rest(&mut WatchProbe::new(&*second, TEST_TIMEOUT), &session).await;
    let may_be = match verb {
        Verb::Create => vec![End::Gone, End::Runs],
        Verb::CreateWithToken => vec![End::Gone, End::Stopped, End::Runs],
        Verb::Stop => vec![End::Runs, End::Stopped],
        Verb::Resume | Verb::ResumeWithToken => vec![End::Stopped, End::Runs],
        Verb::Replace => vec![End::Runs, End::Stopped],
        Verb::Delete => vec![End::Runs, End::Gone],
        Verb::DeleteStopped => vec![End::Stopped, End::Gone],
        Verb::DeleteAndCreate => vec![End::Runs, End::Gone, End::Stopped],
    };
    assert!(may_be.contains(&rest), "{verb:?}, {crash:?}: {rest:?}");
    verb.carry_out(&*second, &session).await;
    assert_eq!(
        at_rest(&mut WatchProbe::new(&*second, TEST_TIMEOUT), &session).await,
        verb.end(),
        "{verb:?}, {crash:?}"
    );
    let [pvcs, pods, secrets] = test.objects(hash).await;
    match verb.end() {
        End::Runs => {
            assert_eq!([pvcs, pods], [1, 1], "{verb:?}, {crash:?}");
            // The Secrets of the password and, if there was one, of the token.
            assert!((1..=2).contains(&secrets), "{verb:?}, {crash:?}: {secrets} Secrets");
        }
        End::Stopped => assert_eq!([pvcs, pods], [1, 0], "{verb:?}, {crash:?}"),
        End::Gone => {}
    }
    // The session can be started, and nothing of it outlasts its deletion.
    second.start(&session, Credentials::NONE).await.expect("start");
    WatchProbe::new(&*second, TEST_TIMEOUT).wait_running(hash).await;
    second.delete(hash).await.expect("delete");
    WatchProbe::new(&*second, TEST_TIMEOUT).wait_removed(hash).await;
    assert!(
        !test.stored(hash).await,
        "{verb:?}, {crash:?}: something is left: {:?}",
        test.objects(hash).await
    );
    assert_eq!(test.node.max_process_count(hash), 1, "{verb:?}, {crash:?}: two at once");
    second.shutdown().await;
    crashed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_killed_at_any_call_is_replaced_without_a_trace() {
    if pod_manager::kubernetes::testing::kubeconfig().is_none() {
        return;
    }
    let runs = ALL.into_iter().flat_map(|verb| [false, true].map(|arrives| (verb, arrives)));
    let calls: Vec<(Verb, usize)> = stream::iter(runs)
        .map(|(verb, arrives)| async move {
            let mut at = 1;
            while crash(verb, Crash { at, arrives }).await {
                at += 1;
                assert!(at < 30, "{verb:?} has no end");
            }
            (verb, at - 1)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (verb, calls) in calls {
        assert!(calls >= 2, "{verb:?} was to be ended at each of its calls: {calls}");
    }
}
