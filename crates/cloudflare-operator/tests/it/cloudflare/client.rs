//! The client against the stand-in, over sockets.

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc, time::Duration};

use cloudflare_operator::{
    cloudflare::{
        CallObserver, CloudflareError, CloudflareSync, NoObserver, Report, transport::HttpTransport,
    },
    reconcile::{Action, Conflict, Note},
    testing::{Fault, FaultKind, Seed, Server, StandIn},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    SERVICE, hosts,
    oracle::{COMMENT, TARGET, assert_published},
    settings,
};

/// An operator and a stand-in, with sockets between them.
struct World {
    stand_in: StandIn,
    server: Server,
    sync: CloudflareSync,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Calls(Mutex<Vec<String>>);

impl CallObserver for Calls {
    fn record(&self, call: &'static str, outcome: &str) {
        self.0.lock().push(format!("{call} {outcome}"));
    }
}

impl World {
    async fn new(seed: Seed) -> Self {
        let stand_in = StandIn::new(seed);
        let server = Server::start(stand_in.clone(), (Ipv4Addr::LOCALHOST, 0).into()).await;
        let server = server.expect("a port");
        let calls = Arc::new(Calls::default());
        let settings = settings(&stand_in.with(|model| model.seed.clone()), &server.api_url());
        let sync = CloudflareSync::new(settings, calls.clone()).expect("a client");
        Self { stand_in, server, sync, calls }
    }

    async fn pass(&mut self, hosts: &BTreeSet<String>) -> Result<Report, CloudflareError> {
        super::pass(&mut self.sync, hosts).await
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.0.lock())
    }

    fn documents(&self) -> (Vec<Value>, Value) {
        self.stand_in.with(|model| (model.records(), model.config().clone()))
    }

    #[track_caller]
    fn assert_published(&self, hosts: &BTreeSet<String>) {
        let (records, config) = self.documents();
        assert_published(hosts, &records, &config, false);
    }
}

fn configured() -> Seed {
    let config = json!({
        "originRequest": { "connectTimeout": 30 },
        "warp-routing": { "enabled": true },
        "ingress": [
            { "hostname": "www.example.org", "service": "http://www:80", "originRequest": { "future": 1 } },
            { "service": "http_status:503" },
        ],
    });
    Seed { config, ..Seed::default() }
}

#[tokio::test]
async fn a_pass_publishes_all_hosts_and_a_second_one_writes_nothing() {
    let mut world = World::new(configured()).await;
    let hosts = hosts(0..3);
    let plan = world.sync.plan(&hosts).await.unwrap();
    assert_eq!(plan.actions.len(), 12, "{plan}");
    let report = world.sync.apply(plan).await.unwrap();
    assert_eq!((report.changes, report.records, report.rules), (12, 6, 6));
    world.assert_published(&hosts);
    let first = [
        "read_zone 200",
        "read_tunnel 200",
        "list_records 200",
        "read_tunnel_config 200",
        "write_tunnel_config 200",
        "read_tunnel_config 200",
        "batch_records 200",
    ];
    assert_eq!(world.calls(), first);
    let report = world.pass(&hosts).await.unwrap();
    assert_eq!((report.changes, report.records, report.rules), (0, 6, 6));
    assert_eq!(world.calls(), ["list_records 200", "read_tunnel_config 200"]);
    world.pass(&BTreeSet::new()).await.unwrap();
    let (records, config) = world.documents();
    assert_eq!((records, config), (vec![], configured().config));
}

#[tokio::test]
async fn a_record_is_as_the_original_makes_it() {
    let mut world = World::new(Seed::default()).await;
    world.pass(&BTreeSet::from(["a48da0606867-oc.example.org".to_owned()])).await.unwrap();
    let (records, config) = world.documents();
    let record = &records[0];
    assert_eq!(record["type"], "CNAME");
    assert_eq!(record["name"], "a48da0606867-oc.example.org");
    assert_eq!(record["content"], TARGET);
    assert_eq!(record["comment"], COMMENT);
    assert_eq!((&record["proxied"], &record["ttl"]), (&json!(true), &json!(1)));
    let rule = json!({ "hostname": "a48da0606867-oc.example.org", "service": SERVICE });
    assert_eq!(config["ingress"], json!([rule, { "service": "http_status:404" }]));
}

#[tokio::test]
async fn every_fault_is_a_typed_error_and_loses_no_change() {
    let status = |status, code| FaultKind::Status { status, retry_after: None, code };
    let faults = [
        (status(401, 10000), "unauthorized"),
        (status(403, 10000), "forbidden"),
        (status(400, 6003), "unauthorized"),
        (status(429, 971), "rate_limited"),
        (status(500, 0), "unavailable"),
        (status(503, 0), "unavailable"),
        (status(524, 0), "unavailable"),
        (FaultKind::Drop, "unreachable"),
        (FaultKind::Half, "unreachable"),
        (FaultKind::Garbage, "invalid_answer"),
        (FaultKind::Redirect, "invalid_answer"),
    ];
    let calls = [
        "read_zone",
        "read_tunnel",
        "list_records",
        "read_tunnel_config",
        "write_tunnel_config",
        "batch_records",
    ];
    let hosts = hosts(0..3);
    for call in calls {
        for (kind, reason) in &faults {
            for after_effect in [false, true] {
                let mut world = World::new(configured()).await;
                let fault = Fault { after_effect, ..Fault::new(kind.clone()).at(call) };
                world.stand_in.add_fault(fault.clone());
                let error = world.pass(&hosts).await.expect_err("the fault");
                assert_eq!(error.reason(), *reason, "{fault:?}: {error}");
                assert!(!error.to_string().contains("stand-in-token"), "{error}");
                // The next pass, as after a restart: a 429 would hold up this process.
                let settings = settings(&Seed::default(), &world.server.api_url());
                world.sync = CloudflareSync::new(settings, Arc::new(NoObserver)).unwrap();
                world.pass(&hosts).await.unwrap();
                world.assert_published(&hosts);
                assert_eq!(world.documents().0.len(), hosts.len(), "{fault:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_the_end() {
    let mut world = World::new(configured()).await;
    world.stand_in.add_fault(Fault::new(FaultKind::Endless).at("list_records"));
    let error = world.pass(&hosts(0..1)).await.expect_err("the fault");
    assert!(matches!(error, CloudflareError::InvalidAnswer { call: "list_records", .. }), "{error}");
}

#[tokio::test]
async fn a_call_that_is_not_answered_times_out() {
    let stand_in = StandIn::new(configured());
    stand_in.add_fault(Fault::new(FaultKind::Hang).at("read_zone"));
    let server = Server::start(stand_in.clone(), (Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let settings = settings(&Seed::default(), &server.api_url());
    let transport = HttpTransport::new(&settings).unwrap().with_timeout(Duration::from_millis(50));
    let mut sync = CloudflareSync::with_transport(settings, Box::new(transport), Arc::new(NoObserver));
    let error = sync.plan(&hosts(0..1)).await.expect_err("the fault");
    assert_eq!(error.reason(), "timeout", "{error}");
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let world = World::new(Seed::default()).await;
    let settings = settings(&Seed::default(), &world.server.api_url());
    drop(world);
    let mut sync = CloudflareSync::new(settings, Arc::new(NoObserver)).unwrap();
    let error = sync.plan(&hosts(0..1)).await.expect_err("nobody listens");
    assert_eq!(error.reason(), "unreachable", "{error}");
}

#[tokio::test]
async fn after_a_429_no_call_is_made_until_its_retry_after_has_passed() {
    let mut world = World::new(configured()).await;
    let kind = FaultKind::Status { status: 429, retry_after: Some(77), code: 971 };
    world.stand_in.add_fault(Fault::new(kind).at("list_records"));
    let error = world.pass(&hosts(0..1)).await.expect_err("the limit");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(77)));
    world.calls();
    let error = world.pass(&hosts(0..1)).await.expect_err("the limit still holds");
    assert!(error.retry_after().is_some_and(|delay| delay <= Duration::from_secs(77)), "{error}");
    assert_eq!(world.calls(), [""; 0]);
}

#[tokio::test]
async fn a_wrong_token_is_said_without_the_token() {
    let mut world = World::new(Seed::default()).await;
    world.stand_in.with(|model| model.seed.token = "another".to_owned());
    let error = world.pass(&hosts(0..1)).await.expect_err("a wrong token");
    assert!(matches!(error, CloudflareError::Unauthorized { code: 9109, .. }), "{error}");
    assert!(error.needs_operator());
    assert!(!format!("{:?}", settings(&Seed::default(), "")).contains("stand-in-token"));
}

#[tokio::test]
async fn a_domain_outside_of_the_zone_is_refused_before_any_write() {
    let seed = Seed { zone_name: "other.org".to_owned(), ..Seed::default() };
    let stand_in = StandIn::new(seed);
    let server = Server::start(stand_in.clone(), (Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let settings = settings(&Seed::default(), &server.api_url());
    let mut sync = CloudflareSync::new(settings, Arc::new(NoObserver)).unwrap();
    let error = sync.plan(&hosts(0..1)).await.expect_err("another zone");
    assert!(matches!(error, CloudflareError::WrongZone { .. }), "{error}");
}

#[tokio::test]
async fn an_unknown_zone_and_a_deleted_tunnel_are_named() {
    let mut world = World::new(Seed::default()).await;
    world.stand_in.with(|model| model.seed.tunnel_deleted = true);
    let error = world.pass(&hosts(0..1)).await.expect_err("no tunnel");
    assert!(matches!(error, CloudflareError::TunnelNotFound(_)), "{error}");
    let mut world = World::new(Seed::default()).await;
    world.stand_in.with(|model| model.seed.zone_id = "f".repeat(32));
    let error = world.pass(&hosts(0..1)).await.expect_err("no zone");
    assert!(matches!(error, CloudflareError::ZoneNotFound(_)), "{error}");
}

#[tokio::test]
async fn the_rules_of_a_local_tunnel_are_not_managed_and_its_records_are() {
    let seed = Seed { config_src: "local".to_owned(), ..configured() };
    let mut world = World::new(seed).await;
    let hosts = hosts(0..2);
    let report = world.pass(&hosts).await.unwrap();
    assert_eq!((report.conflicts, report.notes), (vec![], vec![Note::LocalTunnel]));
    let (records, config) = world.documents();
    assert_published(&hosts, &records, &config, true);
    assert_eq!(config, configured().config);
}

#[tokio::test]
async fn a_list_of_many_pages_is_read_to_its_end() {
    let mut world = World::new(Seed { max_per_page: 7, ..Seed::default() }).await;
    world.pass(&hosts(0..20)).await.unwrap();
    world.calls();
    let report = world.pass(&hosts(0..20)).await.unwrap();
    assert_eq!((report.changes, report.records), (0, 40));
    assert_eq!(world.calls().iter().filter(|call| *call == "list_records 200").count(), 6);
}

#[tokio::test]
async fn one_refused_record_holds_up_no_other() {
    let mut world = World::new(Seed::default()).await;
    let hosts = hosts(0..100);
    let plan = world.sync.plan(&hosts).await.unwrap();
    let taken = "000000000007-oc.example.org";
    let record = json!({ "type": "A", "name": taken, "content": "192.0.2.1" });
    world.stand_in.with(|model| model.add_record(&record)).unwrap();
    world.calls();
    let report = world.sync.apply(plan).await.unwrap();
    assert_eq!(report.records, 199);
    assert!(matches!(&report.conflicts[..], [Conflict::Refused { name, code: 81053, .. }] if name == taken));
    assert!(world.calls().len() <= 20, "a refused batch is halved");
    let report = world.pass(&hosts).await.unwrap();
    assert!(matches!(&report.conflicts[..], [Conflict::Record { name, .. }] if name == taken));
    world.assert_published(&hosts);
}

#[tokio::test]
async fn a_refused_record_is_left_alone_for_a_while() {
    let mut world = World::new(Seed::default()).await;
    let kind = FaultKind::Status { status: 400, retry_after: None, code: 9000 };
    world.stand_in.add_fault(Fault::new(kind).at("create_record"));
    let hosts = BTreeSet::from(["000000000007-oc.example.org".to_owned()]);
    let report = world.pass(&hosts).await.unwrap();
    assert!(matches!(report.conflicts[..], [Conflict::Refused { code: 9000, .. }]));
    world.calls();
    let report = world.pass(&hosts).await.unwrap();
    assert!(matches!(report.conflicts[..], [Conflict::Refused { code: 9000, .. }]));
    assert_eq!(world.calls(), ["list_records 200", "read_tunnel_config 200"]);
}

#[tokio::test]
async fn a_zone_without_batches_gets_its_records_one_by_one() {
    let mut world = World::new(Seed { has_batch: false, ..Seed::default() }).await;
    let hosts = hosts(0..5);
    world.pass(&hosts).await.unwrap();
    world.assert_published(&hosts);
    world.pass(&BTreeSet::new()).await.unwrap();
    assert_eq!(world.documents().0, [Value::Null; 0]);
    assert_eq!(world.calls().iter().filter(|call| call.starts_with("batch_records")).count(), 1);
}

#[tokio::test]
async fn a_full_zone_is_an_error_and_records_are_still_removed() {
    let mut world = World::new(Seed::default()).await;
    world.pass(&hosts(0..5)).await.unwrap();
    world.stand_in.with(|model| model.seed.record_limit = Some(10));
    let next = hosts(3..20);
    let plan = world.sync.plan(&next).await.unwrap();
    // A batch with room enough for its own deletions would be accepted; this one is not.
    let error = world.sync.apply(plan).await.expect_err("the quota");
    assert!(matches!(error, CloudflareError::RecordQuota(_)), "{error}");
    let names: Vec<_> = world.documents().0.iter().map(|record| record["name"].clone()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    world.stand_in.with(|model| model.seed.record_limit = None);
    world.pass(&next).await.unwrap();
    world.assert_published(&next);
}

#[tokio::test]
async fn a_change_by_somebody_else_in_the_moment_of_a_write_is_reported() {
    let mut world = World::new(configured()).await;
    let hosts = hosts(0..1);
    let plan = world.sync.plan(&hosts).await.unwrap();
    world.stand_in.with(|model| {
        let mut config = model.config().clone();
        config["ingress"]
            .as_array_mut()
            .unwrap()
            .insert(0, json!({ "hostname": "x.example.org", "service": "s" }));
        model.set_config(config).unwrap();
    });
    let report = world.sync.apply(plan).await.unwrap();
    assert_eq!(report.overwritten, 1);
    world.assert_published(&hosts);
}

#[tokio::test]
async fn hosts_that_could_not_be_told_from_others_are_left_out() {
    let mut world = World::new(Seed::default()).await;
    let hosts = BTreeSet::from(["www.example.org".to_owned(), "5173-a48da0606867-oc.example.org".to_owned()]);
    let plan = world.sync.plan(&hosts).await.unwrap();
    assert_eq!((plan.actions, plan.conflicts.len()), (Vec::<Action>::new(), 2));
}

#[tokio::test]
async fn the_stand_in_is_steered_over_http() {
    let mut world = World::new(Seed::default()).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let control = format!("http://{}/stand-in", world.server.address());
    let fault = json!({ "call": "read_zone", "kind": "status", "status": 503 });
    http.post(format!("{control}/faults")).json(&fault).send().await.unwrap().error_for_status().unwrap();
    let error = world.pass(&hosts(0..1)).await.expect_err("the fault");
    assert_eq!(error.reason(), "unavailable");
    let seed = json!({ "config_src": "local" });
    http.patch(format!("{control}/seed")).json(&seed).send().await.unwrap().error_for_status().unwrap();
    let report = world.pass(&hosts(0..1)).await.unwrap();
    assert_eq!((report.conflicts, report.notes), (vec![], vec![Note::LocalTunnel]));
    let unknown = http.get(format!("{control}/unknown")).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
}
