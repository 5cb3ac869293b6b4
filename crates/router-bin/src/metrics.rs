//! What the router counts, in OpenMetrics text.
//!
//! A request costs two additions to atomics here: the counters of all kinds and outcomes are made beforehand.

use std::{
    collections::HashSet,
    fmt,
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::StatusCode;
use pod_manager::{Phase, SessionStatus, Stage, WatchEvent};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};
use session_key::SessionHash;

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The site's pages.
    Site,
    /// The API.
    Api,
    /// A session's opencode.
    Session,
    /// A dev server in a session.
    Port,
    /// `opencode attach`.
    Attach,
    /// A name that is not ours.
    Foreign,
}

/// What the router counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: [[Counter; CLASSES.len()]; Kind::ALL.len()],
    in_flight: [Gauge; Kind::ALL.len()],
    panics: Counter,
    sessions: Family<Status, Gauge>,
    starts: Family<Outcome, Counter>,
    stages: Family<StageLabel, Histogram>,
    reaps: Gauge,
    conflicts: Counter,
    process: Process,
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

#[derive(Debug, Default)]
struct Process {
    memory: Gauge,
    cpu: Counter<f64, AtomicU64>,
    files: Gauge,
}

impl Kind {
    const ALL: [Self; 6] = [Self::Site, Self::Api, Self::Session, Self::Port, Self::Attach, Self::Foreign];

    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Site => "site",
            Self::Api => "api",
            Self::Session => "session",
            Self::Port => "port",
            Self::Attach => "attach",
            Self::Foreign => "foreign",
        }
    }
}

impl Metrics {
    /// All at nought; the process counts as started `now`.
    #[must_use]
    pub fn new(now: SystemTime) -> Self {
        let mut root = Registry::default();
        let registry = root.sub_registry_with_prefix("opencode_router");
        let requests = Family::<Request, Counter>::default();
        let in_flight = Family::<Route, Gauge>::default();
        let stages = Family::<StageLabel, Histogram>::new_with_constructor(|| {
            Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0])
        });
        let (panics, sessions, starts) = (Counter::default(), Family::default(), Family::default());
        let (reaps, conflicts) = (Gauge::default(), Counter::default());
        let process = Process::default();
        registry.register("requests", "Requests answered, by what they were for", requests.clone());
        registry.register(
            "requests_in_flight",
            "Requests whose answer is not yet sent to its end; tunnels count until their handshake",
            in_flight.clone(),
        );
        registry.register("panics", "Requests whose handler panicked", panics.clone());
        registry.register("sessions", "Sessions there are, of all users", sessions.clone());
        registry.register("session_starts", "Starts of sessions that came to an end", starts.clone());
        registry.register("start_stage_seconds", "How long each stage of a start took", stages.clone());
        registry.register("reaps", "1 where this router is the one that stops idle sessions", reaps.clone());
        registry.register(
            "session_conflicts",
            "Sessions that were reported under another owner than before; they are served to nobody",
            conflicts.clone(),
        );
        registry.register(
            "build",
            "The router's version",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        // These have the names that they have everywhere.
        let plain = root.sub_registry_with_prefix("process");
        plain.register("resident_memory_bytes", "Memory in use", process.memory.clone());
        plain.register("cpu_seconds", "Processor time used", process.cpu.clone());
        plain.register("open_fds", "Open files and sockets", process.files.clone());
        let started: Gauge<f64, AtomicU64> = Gauge::default();
        started.set(now.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()));
        plain.register("start_time_seconds", "When the process started, since 1970", started);
        Self {
            requests: Kind::ALL.map(|kind| {
                CLASSES.map(|status| requests.get_or_create_owned(&Request { route: kind.as_str(), status }))
            }),
            in_flight: Kind::ALL.map(|kind| in_flight.get_or_create_owned(&Route { route: kind.as_str() })),
            registry: root,
            panics,
            sessions,
            starts,
            stages,
            reaps,
            conflicts,
            process,
        }
    }

    /// A request has come. It is over when what this gives is dropped.
    pub fn begin(&self, kind: Kind) -> InFlight {
        let gauge = self.in_flight[kind as usize].clone();
        gauge.inc();
        InFlight(gauge)
    }

    /// A request was answered.
    pub fn answered(&self, kind: Kind, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        self.requests[kind as usize][class].inc();
    }

    /// A stage of a start took so long.
    pub fn stage_took(&self, stage: Stage, time: Duration) {
        self.stages.get_or_create(&StageLabel { stage: stage_name(stage) }).observe(time.as_secs_f64());
    }

    /// A handler panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Returns all metrics as OpenMetrics text. What the manager knows is passed in: how many sessions are in each
    /// state, whether this router is the leader, and how many conflicts there were.
    ///
    /// # Errors
    /// None in practice: writing to a `String` does not fail.
    pub fn render(
        &self,
        sessions: impl IntoIterator<Item = (&'static str, usize)>,
        is_leader: bool,
        conflicts: u64,
    ) -> Result<String, fmt::Error> {
        for (status, count) in sessions {
            self.sessions.get_or_create(&Status { status }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.reaps.set(i64::from(is_leader));
        self.conflicts.inc_by(conflicts.saturating_sub(self.conflicts.get()));
        self.process.measure();
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A request under way.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts how starts end and how long their stages take, from what a backend tells.
#[derive(Debug, Default)]
pub struct Starts {
    under_way: HashSet<SessionHash>,
}

impl Starts {
    /// Takes in one observation; without `metrics` it is followed, and not counted.
    pub fn observe(&mut self, seen: &WatchEvent, metrics: Option<&Metrics>) {
        match seen {
            // What came about before is not known to have come about now.
            WatchEvent::Snapshot(all) => {
                self.under_way = all.iter().filter(|one| starts(one)).map(|one| one.session.hash).collect();
            }
            WatchEvent::Applied(one) => self.applied(one, metrics),
            WatchEvent::Removed(hash) => {
                self.under_way.remove(hash);
            }
        }
    }

    fn applied(&mut self, one: &SessionStatus, metrics: Option<&Metrics>) {
        let hash = one.session.hash;
        if starts(one) {
            self.under_way.insert(hash);
            return;
        }
        if !self.under_way.remove(&hash) {
            return;
        }
        let Some(metrics) = metrics else { return };
        let outcome = match &one.phase {
            Phase::Running(_) => "running",
            Phase::Failed(failure) => failure.code.as_str(),
            _ => "stopped",
        };
        metrics.starts.get_or_create(&Outcome { outcome }).inc();
        for record in &one.stages {
            let took = record.started.zip(record.ended).and_then(|(from, to)| to.duration_since(from).ok());
            if let Some(took) = took {
                metrics.stage_took(record.stage, took);
            }
        }
    }
}

fn starts(one: &SessionStatus) -> bool {
    matches!(one.phase, Phase::Starting)
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Queued => "queued",
        Stage::Scheduled => "scheduled",
        Stage::Volume => "volume",
        Stage::Image => "image",
        Stage::Cloning => "cloning",
        Stage::Starting => "starting",
        Stage::Ready => "ready",
    }
}

impl Process {
    /// Reads what the kernel says of this process; where it says nothing (not Linux), the figures stay at nought.
    fn measure(&self) {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let kilobytes = read("status").lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()
        });
        self.memory.set(kilobytes.unwrap_or_default() * 1024);
        // After the name in parentheses; user and system time are fields 14 and 15, in hundredths of a second.
        let stat = read("stat");
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
        self.cpu.inc_by((f64::from(ticks) / 100.0 - self.cpu.get()).max(0.0));
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.files.set(i64::try_from(files).unwrap_or_default());
    }
}
