//! The metrics, as OpenMetrics text.
//!
//! A request costs two atomic additions: the counters of all routes and statuses are created in advance.

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

/// What a request is for: the label `route`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
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
    /// A host name that the router does not serve.
    Foreign,
}

/// The router's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: [[Counter; CLASSES.len()]; RouteKind::ALL.len()],
    in_flight: [Gauge; RouteKind::ALL.len()],
    panics: Counter,
    limit_refusals: Counter,
    sessions: Family<Status, Gauge>,
    starts: Family<Outcome, Counter>,
    stages: Family<StageLabel, Histogram>,
    leader: Gauge,
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

impl RouteKind {
    const ALL: [Self; 6] = [Self::Site, Self::Api, Self::Session, Self::Port, Self::Attach, Self::Foreign];

    /// Returns the label's value.
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
    /// Returns metrics that are all zero. The process counts as started `now`.
    #[must_use]
    pub fn new(now: SystemTime) -> Self {
        let mut root = Registry::default();
        let registry = root.sub_registry_with_prefix("opencode_router");
        let requests = Family::<Request, Counter>::default();
        let in_flight = Family::<Route, Gauge>::default();
        let stages = Family::<StageLabel, Histogram>::new_with_constructor(|| {
            Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0])
        });
        let (panics, limit_refusals) = (Counter::default(), Counter::default());
        let (sessions, starts) = (Family::default(), Family::default());
        let (leader, conflicts) = (Gauge::default(), Counter::default());
        let process = Process::default();
        registry.register("requests", "Requests answered, by route and status", requests.clone());
        registry.register(
            "requests_in_flight",
            "Requests whose response is not complete; tunnels count until their handshake",
            in_flight.clone(),
        );
        registry.register("panics", "Requests whose handler panicked", panics.clone());
        registry.register(
            "limit_refusals",
            "Requests refused because their user has reached a limit",
            limit_refusals.clone(),
        );
        registry.register("sessions", "Sessions of all users, by status", sessions.clone());
        registry.register("session_starts", "Session starts that finished, by outcome", starts.clone());
        registry.register("start_stage_seconds", "Duration of each stage of a session start", stages.clone());
        registry.register(
            "reaps",
            "1 if this router is the leader, which stops idle sessions",
            leader.clone(),
        );
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
        // The conventional names of process metrics.
        let process_registry = root.sub_registry_with_prefix("process");
        process_registry.register("resident_memory_bytes", "Resident memory", process.memory.clone());
        process_registry.register("cpu_seconds", "CPU time used", process.cpu.clone());
        process_registry.register("open_fds", "Open file descriptors", process.files.clone());
        let started: Gauge<f64, AtomicU64> = Gauge::default();
        started.set(now.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()));
        process_registry.register(
            "start_time_seconds",
            "Start time of the process, in seconds since 1970",
            started,
        );
        Self {
            requests: RouteKind::ALL.map(|kind| {
                CLASSES.map(|status| requests.get_or_create_owned(&Request { route: kind.as_str(), status }))
            }),
            in_flight: RouteKind::ALL
                .map(|kind| in_flight.get_or_create_owned(&Route { route: kind.as_str() })),
            registry: root,
            panics,
            limit_refusals,
            sessions,
            starts,
            stages,
            leader,
            conflicts,
            process,
        }
    }

    /// Counts a request as in flight until the returned guard is dropped.
    pub fn start_request(&self, kind: RouteKind) -> InFlight {
        let gauge = self.in_flight[kind as usize].clone();
        gauge.inc();
        InFlight(gauge)
    }

    /// Counts a response.
    pub fn record_response(&self, kind: RouteKind, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        self.requests[kind as usize][class].inc();
    }

    /// Adds the duration of a start's stage to the histogram.
    pub fn observe_stage(&self, stage: Stage, duration: Duration) {
        self.stages.get_or_create(&StageLabel { stage: stage_name(stage) }).observe(duration.as_secs_f64());
    }

    /// Counts a request that was refused because of a limit per user.
    pub fn record_limit_refusal(&self) {
        self.limit_refusals.inc();
    }

    /// Counts a panic of a request handler.
    pub fn record_panic(&self) {
        self.panics.inc();
    }

    /// Renders the metrics as OpenMetrics text. The manager knows the arguments: the number of sessions of
    /// each status, whether this router is the leader, and how many conflicts there were.
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
        self.leader.set(i64::from(is_leader));
        self.conflicts.inc_by(conflicts.saturating_sub(self.conflicts.get()));
        self.process.measure();
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A request in flight; dropping it ends the request.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts the outcomes of session starts and the durations of their stages, from a backend's events.
#[derive(Debug, Default)]
pub struct StartTracker {
    starting: HashSet<SessionHash>,
}

impl StartTracker {
    /// Takes in an event. Without `metrics`, starts are tracked but not counted.
    pub fn observe(&mut self, event: &WatchEvent, metrics: Option<&Metrics>) {
        match event {
            // Starts that finished before the snapshot are not counted: when they finished is unknown.
            WatchEvent::Snapshot(all) => {
                self.starting = all
                    .iter()
                    .filter(|status| is_starting(status))
                    .map(|status| status.session.hash)
                    .collect();
            }
            WatchEvent::Applied(status) => self.applied(status, metrics),
            WatchEvent::Removed(hash) => {
                self.starting.remove(hash);
            }
        }
    }

    fn applied(&mut self, status: &SessionStatus, metrics: Option<&Metrics>) {
        let hash = status.session.hash;
        if is_starting(status) {
            self.starting.insert(hash);
            return;
        }
        if !self.starting.remove(&hash) {
            return;
        }
        let Some(metrics) = metrics else { return };
        let outcome = match &status.phase {
            Phase::Running(_) => "running",
            Phase::Failed(failure) => failure.code.as_str(),
            _ => "stopped",
        };
        metrics.starts.get_or_create(&Outcome { outcome }).inc();
        for stage in &status.stages {
            let duration = stage.started.zip(stage.ended).and_then(|(from, to)| to.duration_since(from).ok());
            if let Some(duration) = duration {
                metrics.observe_stage(stage.stage, duration);
            }
        }
    }
}

fn is_starting(status: &SessionStatus) -> bool {
    matches!(status.phase, Phase::Starting)
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
    /// Reads the process's figures from /proc. On systems other than Linux they stay zero.
    fn measure(&self) {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let kilobytes = read("status").lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()
        });
        self.memory.set(kilobytes.unwrap_or_default() * 1024);
        // User and system time are fields 14 and 15, in hundredths of a second; field 2 is the name in
        // parentheses.
        let stat = read("stat");
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
        self.cpu.inc_by((f64::from(ticks) / 100.0 - self.cpu.get()).max(0.0));
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.files.set(i64::try_from(files).unwrap_or_default());
    }
}
