//! Whatever happens, the documents converge, and nothing of others is changed.
//!
//! A run is a sequence of events: sessions come and go, others edit records and rules, passes fail before or
//! after a call's effect, operators crash in the middle, restart, hand over, and finish plans that are stale.
//! Each call of the operator is watched: it must leave all that is not the operator's as it was.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use cloudflare_operator::{
    cloudflare::{
        CloudflareError, CloudflareSync, NoObserver, Report,
        transport::{Request, Response, Transport, TransportError},
    },
    testing::{Exchange, Fault, FaultKind, Model, Seed, StandIn},
};
use parking_lot::Mutex;
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    SERVICE, hosts, in_memory,
    oracle::{
        COMMENT, TARGET, WILDCARD, assert_published, foreign_document, foreign_records, is_our_record,
        is_our_rule, wildcard_rules,
    },
    settings,
};

/// How many passes without a fault may be needed.
const PASSES: usize = 3;
/// Longer than any pause after a refusal.
const PAUSE: Duration = Duration::from_secs(700);
const WRITES: [&str; 5] =
    ["write_tunnel_config", "batch_records", "create_record", "update_record", "delete_record"];

#[derive(Debug, Clone)]
enum Event {
    Create(u64),
    Delete(u64),
    Wildcard(bool),
    /// Somebody else edits, between two passes.
    Edit(Edit),
    /// The leader makes a pass; this happens at its calls, one after another.
    Pass(Vec<Moment>),
    /// The leader plans, the other operator makes a pass, and the leader applies its stale plan.
    Stale,
    Restart,
    HandOver,
    Local(bool),
    TunnelDeleted(bool),
    TokenValid(bool),
    Batches(bool),
    RecordLimit(bool),
    PageSize(usize),
}

/// What happens at one call.
#[derive(Debug, Clone)]
enum Moment {
    Nothing,
    Fault(FaultKind, bool),
    /// The process ends, before or after the call's effect.
    Crash(bool),
    Edit(Edit),
}

/// What others do.
#[derive(Debug, Clone)]
enum Edit {
    AddRecord(Value),
    RemoveForeignRecord(usize),
    /// Makes a record of ours somebody else's, unless a pass is under way: that pass may already have decided
    /// to delete the record by its id.
    ClaimRecord(usize, Value),
    /// Switches the proxy of a record of ours off.
    Unproxy(usize),
    RemoveOurRecord(usize),
    AddRule(usize, Value),
    RemoveForeignRule(usize),
    RemoveOurRule(usize),
    SwapRules(usize, usize),
    DecorateRule(usize),
    Settings(u64),
}

/// Watches every call of one operator.
struct Watched {
    stand_in: StandIn,
    script: Arc<Mutex<VecDeque<Moment>>>,
    crashed: Arc<Notify>,
    lost: Arc<Mutex<usize>>,
    token: String,
    /// The document that this operator read last.
    base: Mutex<Value>,
}

#[async_trait]
impl Transport for Watched {
    async fn send(&self, request: Request) -> Result<Response, TransportError> {
        let moment = self.script.lock().pop_front().unwrap_or(Moment::Nothing);
        let crash = match moment {
            Moment::Nothing => None,
            Moment::Fault(kind, after_effect) => {
                self.stand_in.add_fault(Fault { call: None, times: 1, after_effect, kind });
                None
            }
            Moment::Edit(edit) => {
                self.stand_in.with(|model| apply_edit(model, &edit, true));
                None
            }
            Moment::Crash(after_effect) => Some(after_effect),
        };
        if crash == Some(false) {
            return self.crash().await;
        }
        let (records, document) = self.stand_in.with(|model| (model.records(), model.config().clone()));
        let exchange = self.stand_in.exchange(Some(&self.token), &request);
        self.check(&request, &records, &document);
        if crash == Some(true) {
            return self.crash().await;
        }
        match exchange {
            Exchange::Answer(response) => {
                if request.call == "read_tunnel_config" && response.status == 200 {
                    let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
                    *self.base.lock() = answer["result"]["config"].clone();
                }
                Ok(response)
            }
            Exchange::Drop | Exchange::Half(_) => Err(TransportError::Unreachable("closed".to_owned())),
            Exchange::Hang => Err(TransportError::Timeout(Duration::from_secs(30))),
            Exchange::Endless => Err(TransportError::TooLong),
            Exchange::Redirect => Ok(Response { status: 302, retry_after: None, body: Vec::new() }),
        }
    }
}

impl Watched {
    async fn crash(&self) -> Result<Response, TransportError> {
        self.crashed.notify_one();
        std::future::pending().await
    }

    /// Asserts that a call left everything of others as it was.
    fn check(&self, request: &Request, records: &[Value], document: &Value) {
        let (records_after, document_after) =
            self.stand_in.with(|model| (model.records(), model.config().clone()));
        assert_eq!(foreign_records(records), foreign_records(&records_after), "{request:?}");
        if *document == document_after {
            return;
        }
        assert_eq!(request.call, "write_tunnel_config");
        let base = self.base.lock().clone();
        assert_eq!(
            foreign_document(&base),
            foreign_document(&document_after),
            "others' part of the document"
        );
        assert!(wildcard_rules(&base) <= wildcard_rules(&document_after), "a wildcard rule was removed");
        if foreign_document(document) != foreign_document(&base) {
            // Somebody else wrote between this operator's read and its write. The API has no means against
            // that, so it must be reported.
            *self.lost.lock() += 1;
        }
    }
}

struct Run {
    stand_in: StandIn,
    script: Arc<Mutex<VecDeque<Moment>>>,
    crashed: Arc<Notify>,
    lost: Arc<Mutex<usize>>,
    operators: [CloudflareSync; 2],
    leader: usize,
    sessions: BTreeSet<u64>,
    wildcard: bool,
}

impl Run {
    fn new(seed: Seed) -> Self {
        let stand_in = StandIn::new(seed);
        let operators = [in_memory(&stand_in), in_memory(&stand_in)];
        let mut run = Self {
            stand_in,
            script: Arc::default(),
            crashed: Arc::default(),
            lost: Arc::default(),
            operators,
            leader: 0,
            sessions: BTreeSet::new(),
            wildcard: false,
        };
        run.operators = [run.operator(), run.operator()];
        run
    }

    fn operator(&self) -> CloudflareSync {
        let seed = Seed::default();
        let watched = Watched {
            stand_in: self.stand_in.clone(),
            script: self.script.clone(),
            crashed: self.crashed.clone(),
            lost: self.lost.clone(),
            token: seed.token.clone(),
            base: Mutex::new(Value::Null),
        };
        CloudflareSync::with_transport(
            settings(&seed, "http://unused"),
            Box::new(watched),
            Arc::new(NoObserver),
        )
    }

    fn hosts(&self) -> BTreeSet<String> {
        if self.wildcard {
            BTreeSet::from([WILDCARD.to_owned()])
        } else {
            hosts(self.sessions.iter().copied())
        }
    }

    async fn event(&mut self, event: Event) {
        match event {
            Event::Create(session) => drop(self.sessions.insert(session)),
            Event::Delete(session) => drop(self.sessions.remove(&session)),
            Event::Wildcard(wildcard) => self.wildcard = wildcard,
            Event::Edit(edit) => self.stand_in.with(|model| apply_edit(model, &edit, false)),
            Event::Pass(moments) => {
                *self.script.lock() = moments.into();
                let _failed = self.pass().await;
                self.script.lock().clear();
                self.stand_in.clear_faults();
            }
            Event::Stale => self.stale().await,
            Event::Restart => self.operators[self.leader] = self.operator(),
            Event::HandOver => self.leader = 1 - self.leader,
            Event::Local(local) => self.stand_in.with(|model| {
                model.seed.config_src = if local { "local" } else { "cloudflare" }.to_owned();
            }),
            Event::TunnelDeleted(deleted) => self.stand_in.with(|model| model.seed.tunnel_deleted = deleted),
            Event::TokenValid(valid) => self.stand_in.with(|model| {
                model.seed.token = if valid { Seed::default().token } else { "another".to_owned() };
            }),
            Event::Batches(has_batch) => self.stand_in.with(|model| model.seed.has_batch = has_batch),
            Event::RecordLimit(limited) => self.stand_in.with(|model| {
                model.seed.record_limit = limited.then(|| model.records().len() + 2);
            }),
            Event::PageSize(size) => self.stand_in.with(|model| model.seed.max_per_page = size),
        }
    }

    /// Makes one pass. `None` if the operator crashed in it and was restarted.
    async fn pass(&mut self) -> Option<Result<Report, CloudflareError>> {
        let (hosts, leader) = (self.hosts(), self.leader);
        let before = *self.lost.lock();
        let crashed = self.crashed.clone();
        let result = tokio::select! {
            result = super::pass(&mut self.operators[leader], &hosts) => Some(result),
            () = crashed.notified() => None,
        };
        if let Some(Ok(report)) = &result {
            let lost = *self.lost.lock() - before;
            assert!(lost == 0 || report.overwritten > 0, "an overwritten change was not reported");
        }
        if result.is_none() {
            self.operators[leader] = self.operator();
        }
        result
    }

    async fn stale(&mut self) {
        let hosts = self.hosts();
        let Ok(plan) = self.operators[self.leader].plan(&hosts).await else { return };
        self.leader = 1 - self.leader;
        let _failed = self.pass().await;
        let _failed = self.operators[1 - self.leader].apply(plan).await;
    }

    /// Ends all faults, and asserts that all is as desired soon, and then stays so.
    async fn assert_converges(&mut self) {
        for event in [Event::TunnelDeleted(false), Event::TokenValid(true), Event::RecordLimit(false)] {
            self.event(event).await;
        }
        let mut last = None;
        for _ in 0..PASSES {
            tokio::time::sleep(PAUSE).await;
            last = self.pass().await;
        }
        let report = last.expect("no crash").expect("a pass without faults");
        let (records, config, local, writes) = self.stand_in.with(|model| {
            let local = model.seed.config_src == "local";
            (model.records(), model.config().clone(), local, writes(model))
        });
        let hosts = self.hosts();
        assert_published(&hosts, &records, &config, local);
        assert_eq!(report.records, records.iter().filter(|record| is_our_record(record)).count());
        let _report = self.pass().await.expect("no crash").expect("a pass without faults");
        assert_eq!(self.stand_in.with(|model| self::writes(model)), writes, "a further pass writes");
    }
}

fn writes(model: &Model) -> u64 {
    WRITES.iter().filter_map(|call| model.calls().get(*call)).sum()
}

/// Does what others do, in a way that the API accepts.
fn apply_edit(model: &mut Model, edit: &Edit, during_pass: bool) {
    let nth = |model: &Model, ours: bool, index: usize| {
        let records: Vec<_> =
            model.records().into_iter().filter(|record| is_our_record(record) == ours).collect();
        let record = records.get(index % records.len().max(1))?;
        Some(record["id"].as_str()?.to_owned())
    };
    let mut document = if model.config().is_null() {
        json!({ "ingress": [{ "service": "http_status:404" }] })
    } else {
        model.config().clone()
    };
    let Some(list) = document["ingress"].as_array_mut() else { return };
    let last = list.len() - 1;
    let nth_rule = |list: &[Value], ours: bool, index: usize| {
        let indexes: Vec<_> = (0..last).filter(|index| is_our_rule(&list[*index]) == ours).collect();
        indexes.get(index % indexes.len().max(1)).copied()
    };
    match edit {
        Edit::AddRecord(record) => {
            let _refused = model.add_record(record);
            return;
        }
        Edit::RemoveForeignRecord(index) => {
            return nth(model, false, *index).into_iter().for_each(|id| model.remove_record(&id));
        }
        Edit::RemoveOurRecord(index) => {
            return nth(model, true, *index).into_iter().for_each(|id| model.remove_record(&id));
        }
        Edit::ClaimRecord(index, fields) => {
            let ours = nth(model, true, *index).filter(|_| !during_pass);
            return ours.into_iter().for_each(|id| {
                let _refused = model.change_record(&id, fields);
            });
        }
        Edit::Unproxy(index) => {
            let ours = nth(model, true, *index);
            return ours.into_iter().for_each(|id| {
                let _refused = model.change_record(&id, &json!({ "proxied": false }));
            });
        }
        Edit::AddRule(index, rule) => list.insert(index % (last + 1), rule.clone()),
        Edit::RemoveForeignRule(index) => {
            nth_rule(list, false, *index).into_iter().for_each(|index| drop(list.remove(index)));
        }
        Edit::RemoveOurRule(index) => {
            nth_rule(list, true, *index).into_iter().for_each(|index| drop(list.remove(index)));
        }
        Edit::SwapRules(a, b) if last > 0 => list.swap(a % last, b % last),
        Edit::SwapRules(..) => {}
        Edit::DecorateRule(index) => {
            list[index % (last + 1)]["originRequest"] = json!({ "connectTimeout": index });
        }
        Edit::Settings(value) => {
            document["originRequest"] = json!({ "connectTimeout": value });
            document["warp-routing"] = json!({ "enabled": value % 2 == 0 });
            document["future"] = json!([value]);
        }
    }
    model.set_config(document).expect("a document that the API accepts");
}

fn any_host() -> impl Strategy<Value = String> {
    let all: Vec<_> = hosts(0..4).into_iter().collect();
    select(all)
}

fn any_record() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        3 => any_host(),
        2 => Just(WILDCARD.to_owned()),
        1 => Just("www.example.org".to_owned()),
        1 => Just("example.org".to_owned()),
    ];
    let content = select(vec![TARGET, "other.cfargotunnel.com", "pages.example.net"]);
    let comment = select(vec![Value::Null, json!("by hand"), json!(COMMENT)]);
    let kind = select(vec!["CNAME", "CNAME", "CNAME", "A", "TXT"]);
    (name, kind, content, comment, any::<bool>()).prop_map(|(name, kind, content, comment, proxied)| {
        let content = if kind == "A" { "192.0.2.1" } else { content };
        let proxied = proxied && kind != "TXT";
        json!({ "name": name, "type": kind, "content": content, "comment": comment, "proxied": proxied })
    })
}

fn any_claim() -> impl Strategy<Value = Value> {
    select(vec![
        json!({ "content": "other.cfargotunnel.com" }),
        json!({ "comment": "by hand" }),
        json!({ "name": "www2.example.org" }),
    ])
}

fn any_rule() -> impl Strategy<Value = Value> {
    let hostname = prop_oneof![
        2 => any_host(),
        2 => Just(WILDCARD.to_owned()),
        1 => Just("*.org".to_owned()),
        2 => Just("www.example.org".to_owned()),
    ];
    let service = select(vec![SERVICE, "http://other:80", "http_status:503"]);
    (hostname, service, prop::option::of(Just("^/x")), any::<bool>()).prop_map(
        |(hostname, service, path, decorated)| {
            let mut rule = json!({ "hostname": hostname, "service": service });
            if let Some(path) = path {
                rule["path"] = json!(path);
            }
            if decorated {
                rule["originRequest"] = json!({ "noTLSVerify": true, "future": [1, null] });
            }
            rule
        },
    )
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let index = || 0..8_usize;
    prop_oneof![
        3 => any_record().prop_map(Edit::AddRecord),
        1 => index().prop_map(Edit::RemoveForeignRecord),
        1 => index().prop_map(Edit::Unproxy),
        1 => (index(), any_claim()).prop_map(|(index, fields)| Edit::ClaimRecord(index, fields)),
        1 => index().prop_map(Edit::RemoveOurRecord),
        4 => (index(), any_rule()).prop_map(|(index, rule)| Edit::AddRule(index, rule)),
        2 => index().prop_map(Edit::RemoveForeignRule),
        1 => index().prop_map(Edit::RemoveOurRule),
        2 => (index(), index()).prop_map(|(a, b)| Edit::SwapRules(a, b)),
        1 => index().prop_map(Edit::DecorateRule),
        1 => (0..4_u64).prop_map(Edit::Settings),
    ]
}

fn any_moment() -> impl Strategy<Value = Moment> {
    let status = (select(vec![400_u16, 404, 409, 429, 500, 502, 503, 524]), prop::option::of(0..30_u64));
    let fault = prop_oneof![
        3 => status.prop_map(|(status, retry_after)| FaultKind::Status { status, retry_after, code: 0 }),
        1 => Just(FaultKind::Drop),
        1 => Just(FaultKind::Half),
        1 => Just(FaultKind::Hang),
        1 => Just(FaultKind::Garbage),
        1 => Just(FaultKind::Endless),
        1 => Just(FaultKind::Redirect),
    ];
    prop_oneof![
        6 => Just(Moment::Nothing),
        2 => (fault, any::<bool>()).prop_map(|(kind, after)| Moment::Fault(kind, after)),
        1 => any::<bool>().prop_map(Moment::Crash),
        2 => any_edit().prop_map(Moment::Edit),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (0..4_u64).prop_map(Event::Create),
        3 => (0..4_u64).prop_map(Event::Delete),
        1 => any::<bool>().prop_map(Event::Wildcard),
        6 => any_edit().prop_map(Event::Edit),
        8 => vec(any_moment(), 0..10).prop_map(Event::Pass),
        1 => Just(Event::Stale),
        1 => Just(Event::Restart),
        1 => Just(Event::HandOver),
        1 => any::<bool>().prop_map(Event::Local),
        1 => any::<bool>().prop_map(Event::TunnelDeleted),
        1 => any::<bool>().prop_map(Event::TokenValid),
        1 => any::<bool>().prop_map(Event::Batches),
        1 => any::<bool>().prop_map(Event::RecordLimit),
        1 => (1..5_usize).prop_map(Event::PageSize),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_documents_converge_and_nothing_foreign_changes(
        events in vec(any_event(), 1..40),
        configured in any::<bool>(),
    ) {
        let config = json!({ "ingress": [
            { "hostname": "www.example.org", "service": "http://www:80" },
            { "service": "http_status:503" },
        ]});
        let seed = Seed { config: if configured { config } else { Value::Null }, ..Seed::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let mut run = Run::new(seed);
            for event in events {
                run.event(event).await;
            }
            run.assert_converges().await;
        });
    }
}
