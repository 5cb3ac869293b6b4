//! When passes begin, in virtual time.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use http::{Request, Response, StatusCode};
use kube::{Client, client::Body, runtime::watcher::Event};
use parking_lot::Mutex;
use pod_manager::{
    SystemClock,
    kubernetes::settings::{ElectionSettings, ElectionTiming},
};
use serde_json::{Value, json};

use super::*;
use crate::{
    metrics::Metrics,
    routes::{HostNames, Mode, RouteSettings},
};

/// A half whose passes end as a script says, then all in success. It records when they began.
#[derive(Clone, Default)]
struct Scripted {
    outcomes: Arc<Mutex<VecDeque<Result<bool, Failure>>>>,
    begun: Arc<Mutex<Vec<Instant>>>,
    duration: Duration,
    changes: watch::Sender<u64>,
}

impl Reconcile for Scripted {
    const HALF: Half = Half::Cloudflare;

    async fn reconcile(&mut self) -> Result<bool, Failure> {
        self.begun.lock().push(Instant::now());
        sleep(self.duration).await;
        self.outcomes.lock().pop_front().unwrap_or(Ok(true))
    }

    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        vec![self.changes.subscribe()]
    }
}

impl Scripted {
    fn failing(failure: &Failure, times: usize) -> Self {
        let outcomes = std::iter::repeat_n(failure.clone(), times).map(Err).collect();
        Self { outcomes: Arc::new(Mutex::new(outcomes)), ..Self::default() }
    }

    fn change(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn passes(&self) -> usize {
        self.begun.lock().len()
    }

    /// Returns the times between the beginnings of passes.
    fn pauses(&self) -> Vec<Duration> {
        self.begun.lock().windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

fn unreachable() -> Failure {
    Failure { reason: "unreachable".into(), message: "x".into(), retry_after: None, needs_operator: false }
}

/// An API server that has one Lease, held by whoever writes it.
fn lease_client(lease: Arc<Mutex<Option<Value>>>) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let lease = lease.clone();
        async move {
            let body = request.into_body().collect_bytes().await.expect("a body");
            let mut lease = lease.lock();
            let (status, body) = match serde_json::from_slice::<Value>(&body) {
                Ok(mut given) => {
                    given["metadata"]["resourceVersion"] = json!("1");
                    *lease = Some(given.clone());
                    (StatusCode::OK, given)
                }
                Err(_) => match &*lease {
                    Some(lease) => (StatusCode::OK, lease.clone()),
                    None => (StatusCode::NOT_FOUND, not_found()),
                },
            };
            let body = Body::from(body.to_string().into_bytes());
            Ok::<_, Infallible>(Response::builder().status(status).body(body).expect("a response"))
        }
    });
    Client::new(service, "opencode")
}

fn not_found() -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "none",
        "reason": "NotFound", "code": 404 })
}

struct World {
    half: Scripted,
    context: Arc<Context>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    leader: Arc<LeaderElector>,
}

/// Starts the loop of a half. The Lease is free.
fn start(half: Scripted, pace: Pace) -> World {
    start_with_lease(half, pace, Arc::default())
}

fn start_with_lease(half: Scripted, pace: Pace, lease: Arc<Mutex<Option<Value>>>) -> World {
    let settings = RouteSettings {
        mode: Mode::Wildcard,
        namespace: "opencode".into(),
        claims_namespace: "opencode".into(),
        names: HostNames {
            domain: "example.org".into(),
            suffix: String::new(),
            attach_prefix: "attach-".into(),
        },
        middleware: "m".into(),
        router_service: "r".into(),
        attach_service: "a".into(),
        attach_port: None,
        signin_service: "s".into(),
        signin_namespace: "s".into(),
    };
    let context = Arc::new(Context::new(settings, Arc::new(Metrics::default()), Arc::new(SystemClock)));
    context.claims.handle(Event::InitDone);
    context.routes.handle(Event::InitDone);
    let election = ElectionSettings {
        lease_name: "operator".into(),
        namespace: "opencode".into(),
        managed_by: "test".into(),
        identity: "this one".into(),
        timing: ElectionTiming::default(),
    };
    let leader = Arc::new(LeaderElector::start(&lease_client(lease), election, Arc::new(SystemClock)));
    let stop = CancellationToken::new();
    let task = {
        let (half, context, leader, stop) = (half.clone(), context.clone(), leader.clone(), stop.clone());
        tokio::spawn(async move { drive(half, &context, &leader, pace, &stop).await })
    };
    World { half, context, stop, task, leader }
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_together_are_one_pass() {
    let world = start(Scripted::default(), Pace::CLOUDFLARE);
    seconds(1).await;
    assert_eq!(world.half.passes(), 1, "the first one needs no change");
    for _ in 0..100 {
        world.half.change();
        sleep(Duration::from_millis(4)).await;
    }
    seconds(10).await;
    assert_eq!(world.half.passes(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_change_during_a_pass_begins_another_one() {
    let half = Scripted { duration: Duration::from_secs(5), ..Scripted::default() };
    let world = start(half, Pace::CLOUDFLARE);
    seconds(2).await;
    assert_eq!(world.half.passes(), 1);
    world.half.change();
    seconds(5).await;
    assert_eq!(world.half.passes(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_change_a_pass_follows_after_a_while() {
    let world = start(Scripted::default(), Pace::CLOUDFLARE);
    seconds(7200).await;
    assert!((10..=15).contains(&world.half.passes()), "{} in 2 h", world.half.passes());
}

#[tokio::test(start_paused = true)]
async fn changes_that_need_no_pass_do_not_delay_the_next_one() {
    let world = start(Scripted::default(), Pace::CLOUDFLARE);
    seconds(1).await;
    // Each change asks the half, which has nothing to do.
    world.half.outcomes.lock().extend(std::iter::repeat_n(Ok(false), 40));
    for _ in 0..40 {
        world.half.change();
        seconds(10).await;
    }
    assert_eq!(world.half.passes(), 41);
    seconds(330).await;
    assert_eq!(world.half.passes(), 42, "the pass is due after 480 s at the earliest, 720 s at the latest");
}

#[tokio::test(start_paused = true)]
async fn failures_are_repeated_after_growing_pauses_until_one_succeeds() {
    let world = start(Scripted::failing(&unreachable(), 6), Pace::CLOUDFLARE);
    seconds(1).await;
    let status = world.context.status.of(Half::Cloudflare);
    assert!(status.is_failing() && status.last_success.is_none());
    seconds(400).await;
    let pauses = world.half.pauses();
    for (pause, expected) in pauses.iter().zip([2.0, 4.0, 8.0, 16.0, 32.0, 64.0]) {
        let range = expected * 0.79..expected * 1.21;
        assert!(range.contains(&pause.as_secs_f64()), "{pauses:?}");
    }
    assert_eq!(pauses.len(), 6, "{pauses:?}");
    let status = world.context.status.of(Half::Cloudflare);
    assert!(!status.is_failing() && status.last_success.is_some() && status.backoff.is_zero());
}

#[tokio::test(start_paused = true)]
async fn changes_during_cloudflares_back_off_make_no_more_passes() {
    let world = start(Scripted::failing(&unreachable(), 1000), Pace::CLOUDFLARE);
    for _ in 0..3600 {
        world.half.change();
        seconds(1).await;
    }
    assert!(world.half.passes() < 25, "{} in an hour", world.half.passes());
}

#[tokio::test(start_paused = true)]
async fn a_change_ends_the_clusters_back_off_but_makes_no_storm() {
    let world = start(Scripted::failing(&unreachable(), 1000), Pace::KUBERNETES);
    seconds(300).await;
    let before = world.half.passes();
    world.half.change();
    seconds(2).await;
    assert_eq!(world.half.passes(), before + 1, "the new session's routes do not wait");
    for _ in 0..1000 {
        world.half.change();
        sleep(Duration::from_millis(10)).await;
    }
    let passes = world.half.passes() - before;
    assert!(passes <= 13, "{passes} in 12 s");
}

#[tokio::test(start_paused = true)]
async fn no_pass_begins_before_the_time_that_was_asked_for() {
    let limited = Failure { retry_after: Some(Duration::from_secs(900)), ..unreachable() };
    let world = start(Scripted::failing(&limited, 1), Pace::CLOUDFLARE);
    seconds(899).await;
    assert_eq!(world.half.passes(), 1);
    seconds(200).await;
    assert_eq!(world.half.passes(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_only_a_person_can_cure_is_tried_rarely() {
    let wrong_token = Failure { needs_operator: true, ..unreachable() };
    let world = start(Scripted::failing(&wrong_token, 1000), Pace::CLOUDFLARE);
    seconds(100).await;
    assert!(world.half.passes() <= 3, "{} in 100 s", world.half.passes());
    seconds(1000).await;
    assert!(world.half.passes() >= 5, "but it is tried");
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_makes_passes() {
    // Another operator renews the Lease.
    let lease = Arc::new(Mutex::new(None));
    let renew = |version: u64| {
        let spec = json!({ "holderIdentity": "another", "leaseDurationSeconds": 15 });
        let metadata = json!({ "name": "operator", "resourceVersion": version.to_string() });
        *lease.lock() = Some(json!({ "metadata": metadata, "spec": spec }));
    };
    renew(1);
    let world = start_with_lease(Scripted::default(), Pace::KUBERNETES, lease.clone());
    for version in 2..100 {
        renew(version);
        world.half.change();
        seconds(3).await;
    }
    assert_eq!(world.half.passes(), 0);
    // It is killed.
    seconds(30).await;
    assert!(world.leader.is_leader());
    assert_eq!(world.half.passes(), 1);
    // This one loses the Lease in the middle of a pass: the pass ends.
    world.leader.release().await;
    world.half.change();
    seconds(60).await;
    assert_eq!(world.half.passes(), 1);
    assert_eq!(world.context.status.of(Half::Cloudflare).state, PassState::Waiting);
}

#[tokio::test(start_paused = true)]
async fn a_pass_is_ended_in_order_within_a_time() {
    for (duration, expected) in [(2, 1..=2), (3600, 4..=6)] {
        let half = Scripted { duration: Duration::from_secs(duration), ..Scripted::default() };
        let world = start(half, Pace::KUBERNETES);
        seconds(1).await;
        let asked = Instant::now();
        world.stop.cancel();
        world.task.await.expect("the loop");
        assert!(expected.contains(&asked.elapsed().as_secs()), "{:?}", asked.elapsed());
    }
}
