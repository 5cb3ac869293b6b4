//! Tests of the conversion of a session, and of its addresses.

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use pod_manager::{
    Endpoint, Failure, FailureCode, ListeningPort, Phase, Session, SessionPorts, SessionStatus, Stage,
    StageRecord, StopReason,
};
use session_key::{GitRef, HostScheme, Identity, RepoPolicy, RepoUrl, SessionHash};

use super::*;
use crate::view::address::{ports, url};

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
        (running(), ViewState::Running, Some("https://a48da0606867-oc.example.org/L3dvcms/session/ses_1")),
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
        (StopReason::RouterStopped, "router_stopped", "The session was stopped together with the router."),
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
fn unknown_work_is_not_reported_as_no_work() {
    let work = UnsavedWork { uncommitted_files: 2, unpushed_commits: 1 };
    let known = unsaved(Some(work));
    assert_eq!((known.known, known.uncommitted_files, known.unpushed_commits), (true, 2, 1));
    assert!(!unsaved(None).known);
}
