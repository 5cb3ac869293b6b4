//! Converts the manager's view of a session to wire types. Pure functions.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use pod_manager::{
    AttachToken, ListeningPort, Phase, Role, Source, Stage, StageRecord, StopReason, ThreadMessage,
    UnsavedWork, Usage, View, ViewState,
};
use session_key::{HostScheme, SessionHash, SessionRoute, Target};

use crate::wire;

/// Converts a session. `url` is its address for a browser, if it runs. `idle_timeout` is `None` for a caller
/// that reads the cluster itself and does not know it; the wire type then holds 0.
#[must_use]
pub fn session(view: &View, url: Option<String>, idle_timeout: Option<Duration>) -> wire::Session {
    let session = &view.status.session;
    let (repo_url, branch, source_branch) = match &session.source {
        Source::Repository { url, branch, from } => {
            (Some(url.to_string()), Some(branch.to_string()), from.as_ref().map(ToString::to_string))
        }
        Source::Empty => (None, None, None),
    };
    wire::Session {
        hash: session.hash,
        email: session.owner.email().to_owned(),
        repo_url,
        branch,
        source_branch,
        state: state(view.state),
        state_since: timestamp(view.status.since),
        url,
        last_activity: timestamp(view.last_activity),
        created_at: timestamp(session.created_at),
        idle_timeout_minutes: idle_timeout.map_or(0, minutes),
        description: view.description.clone(),
        title: view.title.clone(),
        attach_url: None,
        reason: reason(view, idle_timeout),
        busy: view.busy,
        waiting: view.waiting,
        stages: stages(view),
        ports: Vec::new(),
    }
}

/// Converts a session for an administrator.
#[must_use]
pub fn admin_session(view: &View, usage: &Usage, idle_timeout: Duration) -> wire::AdminSession {
    let wire::Session {
        hash,
        email,
        repo_url,
        branch,
        state,
        state_since,
        reason,
        busy,
        last_activity,
        created_at,
        ..
    } = session(view, None, Some(idle_timeout));
    wire::AdminSession {
        hash,
        email,
        repo_url,
        branch,
        state,
        state_since,
        // The log is read by its own route, which is audited.
        reason: reason.map(|reason| wire::Reason { log_tail: None, ..reason }),
        busy,
        last_activity,
        created_at,
        node: usage.node.as_deref().map(str::to_owned),
        cpu_millicores: usage.cpu_millicores,
        memory_bytes: usage.memory_bytes,
    }
}

/// Returns the address of a session for `opencode attach`.
#[must_use]
pub fn attach_url(hash: SessionHash, scheme: &HostScheme, proto: &str) -> String {
    format!("{proto}://{}", scheme.render(&SessionRoute { hash, target: Target::Attach }))
}

/// Returns the id of the newest opencode session, if the session runs and it is known.
#[must_use]
pub fn conversation_id(view: &View) -> Option<String> {
    let (_, id) = view.landing_path.as_deref()?.rsplit_once("/session/")?;
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_id.then(|| id.to_owned())
}

/// Converts what is known of an attach token.
#[must_use]
pub fn attach_token(token: &AttachToken) -> wire::AttachToken {
    wire::AttachToken {
        id: token.id.to_string(),
        name: token.name.to_string(),
        created_at: timestamp(token.created_at),
        expires_at: timestamp(token.expires_at),
    }
}

/// Converts the work that deleting a session would lose.
#[must_use]
pub fn unsaved(work: Option<UnsavedWork>) -> wire::UnsavedWork {
    let known = work.is_some();
    let UnsavedWork { uncommitted_files, unpushed_commits } =
        work.unwrap_or(UnsavedWork { uncommitted_files: 0, unpushed_commits: 0 });
    wire::UnsavedWork { known, uncommitted_files, unpushed_commits }
}

/// Converts a message.
#[must_use]
pub fn message(message: ThreadMessage) -> wire::ThreadMessage {
    wire::ThreadMessage {
        part_id: message.part_id,
        message_id: message.message_id,
        session_id: message.session_id.as_ref().to_owned(),
        role: match message.role {
            Role::User => wire::Role::User,
            Role::Assistant => wire::Role::Assistant,
        },
        text: message.text,
        time: message.time,
    }
}

/// Returns whole minutes, rounded up, because 0 means never; so does a duration that no `u32` can hold.
#[must_use]
pub fn minutes(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs().div_ceil(60)).unwrap_or(0)
}

/// Converts a state.
#[must_use]
pub fn state(state: ViewState) -> wire::State {
    match state {
        ViewState::Creating => wire::State::Creating,
        ViewState::Running => wire::State::Running,
        ViewState::Stopping => wire::State::Stopping,
        ViewState::Stopped => wire::State::Stopped,
        ViewState::Failed => wire::State::Failed,
    }
}

/// Returns `<proto>://<session's host><landing path>`, if the session runs.
#[must_use]
pub fn url(view: &View, scheme: &HostScheme, proto: &str) -> Option<String> {
    let path = (view.state == ViewState::Running).then(|| view.landing_path.as_deref().unwrap_or("/"))?;
    let route = SessionRoute { hash: view.status.session.hash, target: Target::Opencode };
    Some(format!("{proto}://{}{path}", scheme.render(&route)))
}

/// Returns the dev servers of a running session, with their public addresses.
#[must_use]
pub fn ports(view: &View, scheme: &HostScheme, proto: &str) -> Vec<wire::Port> {
    if view.state != ViewState::Running {
        return Vec::new();
    }
    let hash = view.status.session.hash;
    let port = |listening: &ListeningPort| {
        let host = scheme.render(&SessionRoute { hash, target: Target::Port(listening.port) });
        let url = format!("{proto}://{host}/");
        wire::Port { port: listening.port, url, process: listening.process.clone() }
    };
    view.ports.listening.iter().map(port).collect()
}

fn reason(view: &View, idle_timeout: Option<Duration>) -> Option<wire::Reason> {
    match (&view.status.phase, view.state) {
        (Phase::Failed(failure), ViewState::Failed) => Some(wire::Reason {
            code: failure.code.as_str().to_owned(),
            message: failure.message.clone(),
            advice: Some(failure.advice.clone()).filter(|advice| !advice.is_empty()),
            log_tail: failure.log_tail.clone(),
        }),
        (Phase::Stopped(reason), ViewState::Stopped) => {
            let (message, advice) = stopped(*reason, idle_timeout);
            let code = reason.as_str().to_owned();
            Some(wire::Reason { code, message, advice: Some(advice.to_owned()), log_tail: None })
        }
        (Phase::Running(_), ViewState::Running) => view.probe_error.as_deref().map(|error| wire::Reason {
            code: "not_answering".to_owned(),
            message: format!(
                "The session is not stopped as idle, because its opencode does not report whether the \
                 agent is working: {error}."
            ),
            advice: Some("Stop the session, and resume it to restart opencode.".to_owned()),
            log_tail: None,
        }),
        _ => None,
    }
}

/// Returns why the session is stopped, and what to do.
fn stopped(reason: StopReason, idle_timeout: Option<Duration>) -> (String, &'static str) {
    let resume = "Resume the session to continue where you left off.";
    match reason {
        StopReason::Idle => match idle_timeout.map(minutes) {
            None => ("The session was not used for the idle timeout.".to_owned(), resume),
            Some(1) => ("The session was not used for 1 minute.".to_owned(), resume),
            Some(minutes) => (format!("The session was not used for {minutes} minutes."), resume),
        },
        StopReason::Requested => ("The session was stopped on request.".to_owned(), resume),
        StopReason::RouterStopped => ("The session was stopped together with the router.".to_owned(), resume),
        StopReason::RouterCrashed => (
            "The router ended without stopping the session, so the next start of the router stopped it."
                .to_owned(),
            resume,
        ),
        StopReason::NeverStarted => {
            ("The session was created but never started.".to_owned(), "Resume the session to start it.")
        }
    }
}

fn stages(view: &View) -> Vec<wire::Stage> {
    let failed = view.state == ViewState::Failed;
    let last_started = view.stages.iter().rposition(|record| record.started.is_some());
    let stage = |(index, record): (usize, &StageRecord)| wire::Stage {
        stage: stage_name(record.stage),
        status: match (record.started, record.ended) {
            (None, _) => wire::StageStatus::Pending,
            (Some(_), _) if failed && Some(index) == last_started => wire::StageStatus::Failed,
            (Some(_), None) => wire::StageStatus::Active,
            (Some(_), Some(_)) => wire::StageStatus::Done,
        },
        started_at: record.started.map(timestamp),
        ended_at: record.ended.map(timestamp),
        message: record.message.clone(),
        percent: record.percent,
        bytes: record.bytes,
    };
    view.stages.iter().enumerate().map(stage).collect()
}

fn stage_name(stage: Stage) -> wire::StageName {
    match stage {
        Stage::Queued => wire::StageName::Queued,
        Stage::Scheduled => wire::StageName::Scheduled,
        Stage::Volume => wire::StageName::Volume,
        Stage::Image => wire::StageName::Image,
        Stage::Cloning => wire::StageName::Cloning,
        Stage::Starting => wire::StageName::Starting,
        Stage::Ready => wire::StageName::Ready,
    }
}

/// Converts a time. A time out of range (the year 10000) becomes the nearest one in range.
fn timestamp(time: SystemTime) -> Timestamp {
    let before = time < SystemTime::UNIX_EPOCH;
    Timestamp::try_from(time).unwrap_or(if before { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Arc};

    use pod_manager::{Endpoint, Failure, FailureCode, Session, SessionPorts, SessionStatus, StageRecord};
    use session_key::{GitRef, HostScheme, Identity, RepoPolicy, RepoUrl, SessionHash};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30 * 60);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn record(stage: Stage, started: Option<u64>, ended: Option<u64>) -> StageRecord {
        let (started, ended) = (started.map(at), ended.map(at));
        StageRecord { stage, started, ended, message: None, percent: None, bytes: None }
    }

    fn running() -> Phase {
        let address = (Ipv4Addr::LOCALHOST, 4096).into();
        Phase::Running(Endpoint { address, password: None, run_id: "1".into() })
    }

    fn failed() -> Phase {
        Phase::Failed(Failure {
            code: FailureCode::BranchNotFound,
            message: "There is no such branch.".into(),
            advice: "Choose another.".into(),
            log_tail: Some("fatal".into()),
        })
    }

    fn view(phase: Phase, state: ViewState) -> View {
        let session = Session {
            hash: SessionHash::parse("a48da0606867").expect("a hash"),
            owner: Identity::parse("Alice@Example.com").expect("an address"),
            source: Source::Repository {
                url: RepoUrl::parse("https://h.example/o/n", RepoPolicy::default()).expect("a repository"),
                branch: GitRef::parse("fix").expect("a branch"),
                from: Some(GitRef::parse("main").expect("a branch")),
            },
            initial_message: Some("\n Fix it.\nThen test.".into()),
            created_at: at(1),
        };
        let status = SessionStatus {
            session: Arc::new(session),
            phase,
            since: at(2),
            stages: Vec::new(),
            last_activity: at(3),
            first_prompt_sent: true,
            attach_tokens: Arc::default(),
        };
        View {
            status: Arc::new(status),
            state,
            stages: Vec::new(),
            last_activity: at(4),
            description: Some("Fix it.".into()),
            busy: true,
            waiting: false,
            probe_error: None,
            title: Some("Title".into()),
            landing_path: Some("/L3dvcms/session/ses_1".into()),
            ports: SessionPorts::default(),
        }
    }

    fn on_wire(view: &View) -> wire::Session {
        let scheme = HostScheme::new("example.org", "-oc", "attach-").expect("a scheme");
        session(view, url(view, &scheme, "https"), Some(TIMEOUT))
    }

    #[test]
    fn a_running_session_is_converted_with_all_its_fields() {
        let json = serde_json::to_value(on_wire(&view(running(), ViewState::Running))).expect("JSON");
        let expected = serde_json::json!({
            "hash": "a48da0606867",
            "email": "alice@example.com",
            "repoUrl": "https://h.example/o/n",
            "branch": "fix",
            "sourceBranch": "main",
            "state": "running",
            "stateSince": "1970-01-01T00:00:02Z",
            "url": "https://a48da0606867-oc.example.org/L3dvcms/session/ses_1",
            "lastActivity": "1970-01-01T00:00:04Z",
            "createdAt": "1970-01-01T00:00:01Z",
            "idleTimeoutMinutes": 30,
            "description": "Fix it.",
            "title": "Title",
            "busy": true,
            "stages": [],
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn only_a_running_session_has_a_url() {
        for (phase, status, expected) in [
            (Phase::Starting, ViewState::Creating, None),
            // The backend reports that opencode answers; the manager has not sent the first prompt yet.
            (running(), ViewState::Creating, None),
            (running(), ViewState::Stopping, None),
            (Phase::Stopping, ViewState::Stopping, None),
            (Phase::Stopped(StopReason::Idle), ViewState::Stopped, None),
            (failed(), ViewState::Failed, None),
            (
                running(),
                ViewState::Running,
                Some("https://a48da0606867-oc.example.org/L3dvcms/session/ses_1"),
            ),
        ] {
            let view = view(phase, status);
            assert_eq!(on_wire(&view).url.as_deref(), expected, "{status:?}");
        }
    }

    #[test]
    fn a_session_whose_landing_path_is_unknown_has_its_root_as_url() {
        let mut view = view(running(), ViewState::Running);
        view.landing_path = None;
        assert_eq!(on_wire(&view).url.as_deref(), Some("https://a48da0606867-oc.example.org/"));
    }

    #[test]
    fn a_session_that_cannot_be_probed_says_so() {
        let mut view = view(running(), ViewState::Running);
        view.probe_error = Some("it answered 401 Unauthorized".into());
        let reason = on_wire(&view).reason.expect("a reason");
        assert_eq!(reason.code, "not_answering");
        assert!(
            reason.message.ends_with("whether the agent is working: it answered 401 Unauthorized."),
            "{reason:?}"
        );
        view.state = ViewState::Stopping;
        assert_eq!(on_wire(&view).reason, None, "the session is being stopped");
    }

    #[test]
    fn a_session_that_does_not_run_has_a_reason() {
        let reason = |phase, status| on_wire(&view(phase, status)).reason;
        let failure = reason(failed(), ViewState::Failed).expect("a reason");
        assert_eq!(
            (failure.code.as_str(), failure.message.as_str()),
            ("branch_not_found", "There is no such branch.")
        );
        assert_eq!(
            (failure.advice.as_deref(), failure.log_tail.as_deref()),
            (Some("Choose another."), Some("fatal"))
        );
        for (stop_reason, code, message) in [
            (StopReason::Idle, "idle", "The session was not used for 30 minutes."),
            (StopReason::Requested, "requested", "The session was stopped on request."),
            (
                StopReason::RouterStopped,
                "router_stopped",
                "The session was stopped together with the router.",
            ),
            (StopReason::NeverStarted, "never_started", "The session was created but never started."),
        ] {
            let stopped = reason(Phase::Stopped(stop_reason), ViewState::Stopped).expect("a reason");
            assert_eq!((stopped.code.as_str(), stopped.message.as_str()), (code, message));
        }
        assert!(
            reason(Phase::Stopped(StopReason::RouterCrashed), ViewState::Stopped)
                .expect("a reason")
                .advice
                .is_some()
        );
        // A caller that reads the cluster itself does not know the router's settings.
        let idle = session(&view(Phase::Stopped(StopReason::Idle), ViewState::Stopped), None, None);
        assert_eq!((idle.idle_timeout_minutes, idle.url), (0, None));
        assert_eq!(idle.reason.expect("a reason").message, "The session was not used for the idle timeout.");
        for (phase, status) in [
            (running(), ViewState::Running),
            (Phase::Starting, ViewState::Creating),
            (Phase::Stopping, ViewState::Stopping),
        ] {
            assert_eq!(reason(phase, status), None);
        }
    }

    #[test]
    fn stages_report_the_progress_of_a_start() {
        use wire::StageStatus::{Active, Done, Failed, Pending};
        let check = |phase, status, records: [StageRecord; 3], expected: [wire::StageStatus; 3]| {
            let mut view = view(phase, status);
            view.stages = records.to_vec();
            let got: Vec<_> = on_wire(&view).stages.iter().map(|stage| stage.status).collect();
            assert_eq!(got, expected);
        };
        let started = |ended| {
            [
                record(Stage::Cloning, Some(1), Some(2)),
                record(Stage::Starting, Some(2), ended),
                record(Stage::Ready, None, None),
            ]
        };
        check(Phase::Starting, ViewState::Creating, started(None), [Done, Active, Pending]);
        check(Phase::Starting, ViewState::Creating, started(Some(3)), [Done, Done, Pending]);
        check(failed(), ViewState::Failed, started(None), [Done, Failed, Pending]);
        check(failed(), ViewState::Failed, started(Some(3)), [Done, Failed, Pending]);
        let ready = [1, 2, 3].map(|second| record(Stage::Ready, Some(second), Some(second)));
        check(running(), ViewState::Running, ready, [Done, Done, Done]);
    }

    #[test]
    fn the_ports_of_a_running_session_have_addresses() {
        let listening = vec![
            ListeningPort { port: 8080, process: None },
            ListeningPort { port: 5173, process: Some("vite".into()) },
        ];
        let mut view = view(running(), ViewState::Running);
        view.ports = SessionPorts::new(listening);
        let scheme = HostScheme::new("example.org", "-oc", "attach-").expect("a scheme");
        let port = |port, process: Option<&str>| wire::Port {
            port,
            url: format!("https://{port}-a48da0606867-oc.example.org/"),
            process: process.map(str::to_owned),
        };
        assert_eq!(ports(&view, &scheme, "https"), [port(5173, Some("vite")), port(8080, None)]);
        view.state = ViewState::Stopping;
        assert_eq!(ports(&view, &scheme, "https"), []);
    }

    #[test]
    fn minutes_are_rounded_up_and_0_means_never() {
        for (seconds, expected) in [(1, 1), (60, 1), (61, 2), (1800, 30), (0, 0), (u64::MAX, 0)] {
            assert_eq!(minutes(Duration::from_secs(seconds)), expected, "{seconds} s");
        }
    }

    #[test]
    fn unknown_work_is_not_reported_as_no_work() {
        let work = UnsavedWork { uncommitted_files: 2, unpushed_commits: 1 };
        let known = unsaved(Some(work));
        assert_eq!((known.known, known.uncommitted_files, known.unpushed_commits), (true, 2, 1));
        assert!(!unsaved(None).known);
    }
}
