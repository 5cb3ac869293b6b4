//! Tests of leader election against an API server that is late or loses requests.

use std::convert::Infallible;

use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::*;
use crate::SystemClock;

/// As much of an API server as a Lease needs: resource versions, conflicts, and failures.
#[derive(Default)]
struct Server {
    lease: Option<Value>,
    version: u64,
    requests: usize,
    /// The identities whose requests are not answered.
    cut_off: Vec<String>,
    /// The source of random delays and losses.
    failures: Option<StdRng>,
}

type Shared = Arc<Mutex<Server>>;

fn client(server: &Shared, who: &str) -> Client {
    let (server, who) = (server.clone(), who.to_owned());
    let service = tower::service_fn(move |request: Request<Body>| {
        let (server, who) = (server.clone(), who.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let wait = |server: &Shared| {
                let mut server = server.lock();
                let range = |rng: &mut StdRng| Duration::from_millis(rng.random_range(0..5_000));
                server.failures.as_mut().map_or(Duration::from_millis(1), range)
            };
            // The request and the response are delayed.
            let (request_delay, response_delay) = (wait(&server), wait(&server));
            sleep(request_delay).await;
            if server.lock().cut_off.contains(&who) {
                std::future::pending::<()>().await;
            }
            let (status, body) = server.lock().answer(&parts.method, &body);
            sleep(response_delay).await;
            Ok::<_, Infallible>(
                Response::builder().status(status).body(Body::from(body.to_string().into_bytes())).unwrap(),
            )
        }
    });
    Client::new(service, "opencode")
}

impl Server {
    fn answer(&mut self, method: &Method, body: &[u8]) -> (StatusCode, Value) {
        self.requests += 1;
        if self.failures.as_mut().is_some_and(|rng| rng.random_bool(0.1)) {
            return error_status(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
        }
        let given: Value = serde_json::from_slice(body).unwrap_or_default();
        match (method.as_str(), self.lease.clone()) {
            ("GET", Some(lease)) => (StatusCode::OK, lease),
            ("GET" | "PUT", None) => error_status(StatusCode::NOT_FOUND, "NotFound"),
            ("POST", Some(_)) => error_status(StatusCode::CONFLICT, "AlreadyExists"),
            ("PUT", Some(lease))
                if given["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"] =>
            {
                error_status(StatusCode::CONFLICT, "Conflict")
            }
            _ => {
                self.version += 1;
                let mut lease = given;
                lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.lease = Some(lease.clone());
                (StatusCode::OK, lease)
            }
        }
    }

    fn holder(&self) -> String {
        let lease = self.lease.as_ref().expect("a lease");
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }
}

fn error_status(status: StatusCode, reason: &str) -> (StatusCode, Value) {
    let body = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": status.as_u16() });
    (status, body)
}

fn router(server: &Shared, who: &str) -> LeaderElector {
    let settings =
        KubernetesSettings { identity: who.to_owned(), ..KubernetesSettings::new("registry.example/i:1") };
    LeaderElector::start(&client(server, who), settings.election(), Arc::new(SystemClock))
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_router_leads_and_renews_the_lease() {
    let server = Shared::default();
    let (one, two) = (router(&server, "one"), {
        seconds(1).await;
        router(&server, "two")
    });
    for _ in 0..120 {
        seconds(1).await;
        assert!(one.is_leader() && !two.is_leader());
    }
    assert_eq!(server.lock().holder(), "one");
    let spec = server.lock().lease.clone().expect("a lease")["spec"].clone();
    assert_eq!((&spec["leaseDurationSeconds"], &spec["leaseTransitions"]), (&json!(15), &json!(1)));
    let requests = server.lock().requests;
    assert!((70..=90).contains(&requests), "{requests} requests of two routers in 2 min");
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_acquired_at_the_next_attempt() {
    let server = Shared::default();
    let one = router(&server, "one");
    one.wait_leader().await;
    let two = router(&server, "two");
    seconds(5).await;
    one.release().await;
    assert!(!one.is_leader());
    assert_eq!(server.lock().holder(), "");
    let started = Instant::now();
    two.wait_leader().await;
    assert!(started.elapsed() <= Duration::from_secs(4), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_killed_leader_is_replaced_once_its_lease_has_expired() {
    let server = Shared::default();
    let one = router(&server, "one");
    one.wait_leader().await;
    let two = router(&server, "two");
    seconds(5).await;
    drop(one);
    let started = Instant::now();
    two.wait_leader().await;
    let after = started.elapsed();
    assert!((Duration::from_secs(12)..=Duration::from_secs(20)).contains(&after), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_leading_before_another_starts() {
    let server = Shared::default();
    let one = router(&server, "one");
    one.wait_leader().await;
    let two = router(&server, "two");
    seconds(5).await;
    server.lock().cut_off.push("one".into());
    let mut lost = None;
    let started = Instant::now();
    while !two.is_leader() {
        sleep(Duration::from_millis(100)).await;
        if !one.is_leader() {
            lost.get_or_insert(started.elapsed());
        }
        assert!(started.elapsed() < Duration::from_secs(30), "nobody leads");
    }
    let lost = lost.expect("the first one stopped leading before the second one started");
    assert!(lost <= Duration::from_secs(10), "{lost:?}");
    server.lock().cut_off.clear();
    seconds(30).await;
    assert!(!one.is_leader() && two.is_leader(), "the lease is not taken back");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_leadership_is_reported_at_its_deadline() {
    let server = Shared::default();
    let one = router(&server, "one");
    one.wait_lost().await;
    assert!(!one.is_leader(), "it never led");
    one.wait_leader().await;
    server.lock().cut_off.push("one".into());
    one.wait_lost().await;
    assert!(!one.is_leader());
    server.lock().cut_off.clear();
    one.wait_leader().await;
    tokio::join!(one.wait_lost(), one.release());
    assert!(!one.is_leader());
}

#[tokio::test(start_paused = true)]
async fn there_are_never_two_leaders_however_late_or_lossy_the_network_is() {
    for seed in 0..20 {
        let server = Shared::default();
        server.lock().failures = Some(StdRng::seed_from_u64(seed));
        let mut chance = StdRng::seed_from_u64(seed + 1_000);
        let mut routers: Vec<_> = (0..3).map(|number| router(&server, &format!("router-{number}"))).collect();
        let (mut led, mut replaced) = (0, 0);
        for step in 0..3_000 {
            sleep(Duration::from_millis(100)).await;
            let leaders = routers.iter().filter(|router| router.is_leader()).count();
            assert!(leaders <= 1, "seed {seed}, step {step}: {leaders} at once");
            led += leaders;
            if seed % 2 == 0 && chance.random_bool(0.005) {
                // One is killed or shut down, and another one starts.
                let ended = routers.swap_remove(chance.random_range(0..3));
                if chance.random_bool(0.5) {
                    ended.release().await;
                }
                drop(ended);
                routers.push(router(&server, &format!("router-{step}")));
                replaced += 1;
            }
            // Somebody deletes the Lease; every router has seen it by then.
            if seed % 2 == 1 && step > 600 && chance.random_bool(0.003) {
                server.lock().lease = None;
            }
            if chance.random_bool(0.01) {
                // The leader is cut off, or connected again.
                let mut server = server.lock();
                let leader = server.lease.is_some().then(|| server.holder());
                if server.cut_off.is_empty() { server.cut_off.extend(leader) } else { server.cut_off.clear() }
            }
        }
        assert!((seed % 2 == 1 || replaced > 0) && led > 150, "seed {seed}: led {led} of 3000 steps");
    }
}
