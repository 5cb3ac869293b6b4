//! A router that ends at any call of any verb, and the one that comes after it.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use pod_manager::{
    Credentials, KubernetesBackend, SessionBackend, SystemClock, Token,
    contract::{Harness, WatchProbe},
    model::{Phase, Session, StopReason},
};
use tokio::time::{sleep, timeout};

use super::{cluster::PATIENCE, contract::Played, link::Link, meddle::Crash};

/// How many routers end at once; each has a namespace of its own.
const AT_ONCE: usize = 18;

/// What is asked of the router that ends.
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

/// What is there at the end.
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

    /// Brings the session to where the verb begins.
    async fn prepare(self, backend: &dyn SessionBackend, session: &Session) {
        let mut probe = WatchProbe::new(backend, PATIENCE);
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

    /// Asks for it, and waits until it is so.
    async fn carry_out(self, backend: &dyn SessionBackend, session: &Session) {
        let hash = session.hash;
        let mut probe = WatchProbe::new(backend, PATIENCE);
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
    Credentials { github_token: Token::parse("gho_crash") }
}

/// Waits until the session is at rest: as it was, as it was asked for, or not there. Nothing is to be between.
async fn at_rest(probe: &mut WatchProbe, session: &Session) -> End {
    probe.next().await;
    let rest = timeout(PATIENCE, async {
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

/// Whether the router ended: a verb makes only so many calls.
async fn crash(verb: Verb, crash: Crash) -> bool {
    let played = Played::new().await.expect("asked only where there is a cluster");
    let session = played.session();
    let hash = session.hash;
    let first = played.backend();
    verb.prepare(&*first, &session).await;
    first.shutdown().await;
    drop(first);

    let link = Link::new().await;
    let settings = played.cluster.settings.clone();
    let ending = KubernetesBackend::start_up(link.client.clone(), settings, Arc::new(SystemClock));
    WatchProbe::new(&*ending, PATIENCE).next().await;
    // What is asked before the verb (passwords of what runs) is not counted.
    link.hands.crash(crash);
    let work: BoxFuture<'_, bool> = async {
        tokio::select! {
            () = verb.carry_out(&*ending, &session) => false,
            () = link.hands.crashed() => true,
        }
    }
    .boxed();
    let crashed = work.await;
    // What was sent arrives, though nobody waits for it.
    if crash.arrives && crashed {
        sleep(Duration::from_millis(50)).await;
    }
    drop(ending);
    drop(link);

    // Another one begins, and whoever asked asks again.
    let second = played.backend();
    let rest = at_rest(&mut WatchProbe::new(&*second, PATIENCE), &session).await;
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
        at_rest(&mut WatchProbe::new(&*second, PATIENCE), &session).await,
        verb.end(),
        "{verb:?}, {crash:?}"
    );
    let [pvcs, pods, secrets] = played.objects(hash).await;
    match verb.end() {
        End::Runs => {
            assert_eq!([pvcs, pods], [1, 1], "{verb:?}, {crash:?}");
            // The password's, and the token's where there was one.
            assert!((1..=2).contains(&secrets), "{verb:?}, {crash:?}: {secrets} Secrets");
        }
        End::Stopped => assert_eq!([pvcs, pods], [1, 0], "{verb:?}, {crash:?}"),
        End::Gone => {}
    }
    // It is usable: it can be started, and nothing of it outlasts its end.
    second.start(&session, Credentials::NONE).await.expect("start");
    WatchProbe::new(&*second, PATIENCE).wait_running(hash).await;
    second.delete(hash).await.expect("delete");
    WatchProbe::new(&*second, PATIENCE).wait_removed(hash).await;
    assert!(
        !played.stored(hash).await,
        "{verb:?}, {crash:?}: something is left: {:?}",
        played.objects(hash).await
    );
    assert_eq!(played.node.max_process_count(hash), 1, "{verb:?}, {crash:?}: two at once");
    second.shutdown().await;
    crashed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_is_a_routers_last_the_next_one_brings_it_to_the_same_end() {
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
