//! After a router was killed, the next one ends the processes that are left.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use pod_manager::{
    Credentials, Phase, Session, SessionBackend, StopReason,
    contract::{Harness, WatchProbe},
};

use super::{
    cloning::hanging_git,
    fake_opencode::variable,
    harness::{Local, TIMEOUT, assert_no_process_in, processes_in, run},
};

const ROOT: &str = "CRASH_ROOT";
const GIT: &str = "CRASH_GIT";
const OPENCODE: &str = "CRASH_OPENCODE";

/// A router in a process of its own, which can be killed.
pub(super) struct Router(Child);

impl Router {
    /// Starts a router that starts the session `main`, and waits for a line of its output.
    pub(super) fn start(local: &Local, line: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .args(["--exact", "local::crash::router", "--ignored", "--nocapture"])
            .env(ROOT, local.root())
            .env(GIT, &local.settings.git)
            .env(OPENCODE, &local.settings.opencode)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the router starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let printed = lines.any(|printed| printed.expect("a line").ends_with(line));
        assert!(printed, "the router ended early");
        Self(child)
    }

    pub(super) fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("ended");
    }
}

#[test]
#[ignore = "a program that other tests start"]
fn router() {
    let Some(root) = variable(ROOT) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut local = Local::at(PathBuf::from(root));
        local.settings.git = variable(GIT).expect("a git").into();
        local.settings.opencode = variable(OPENCODE).expect("an opencode").into();
        let (backend, session) = (local.backend().await, local.session("origin", "main", None));
        let mut probe = WatchProbe::new(&*backend, TIMEOUT);
        backend.start(&session, Credentials::NONE).await.expect("start");
        println!("the router has started");
        probe.wait_running(session.hash).await;
        println!("the session runs");
        std::future::pending::<()>().await;
    });
}

fn left_running(local: &Local, session: &Session) -> usize {
    processes_in(&local.folder(session.hash)).map_or(1, |all| all.len())
}

/// Changes the session's file.
fn edit(local: &Local, session: &Session, change: impl FnOnce(&mut serde_json::Value)) {
    let path = local.folder(session.hash).join("session.json");
    let mut record = serde_json::from_slice(&fs::read(&path).expect("a record")).expect("JSON");
    change(&mut record);
    fs::write(&path, record.to_string()).expect("written");
}

pub(super) async fn the_next_router_ends_everything(local: &Local, session: &Session) {
    assert!(left_running(local, session) > 0, "something was left running");
    let backend = local.backend().await;
    assert_no_process_in(&local.folder(session.hash));
    let status = WatchProbe::new(&*backend, TIMEOUT).wait_stopped(session.hash).await;
    assert_eq!(status.phase, Phase::Stopped(StopReason::RouterCrashed));
    run(&backend, session).await;
    assert_eq!(local.processes(session.hash).await.unwrap_or(1), 1);
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_of_a_killed_router_are_ended_and_their_sessions_stopped() {
    let local = Local::new();
    let session = local.session("origin", "main", None);
    Router::start(&local, "the session runs").kill();
    the_next_router_ends_everything(&local, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_never_recorded_is_ended_too() {
    let local = Local::new();
    let session = local.session("origin", "main", None);
    Router::start(&local, "the session runs").kill();
    edit(&local, &session, |record| {
        assert!(record["process"]["pid"].as_i64().is_some_and(|pid| pid > 1), "the process was not recorded");
        record["process"] = serde_json::Value::Null;
    });
    the_next_router_ends_everything(&local, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_a_damaged_session_is_ended_too() {
    let local = Local::new();
    let session = local.session("origin", "main", None);
    Router::start(&local, "the session runs").kill();
    fs::write(local.folder(session.hash).join("session.json"), "{").expect("damaged");
    assert!(left_running(&local, &session) > 0, "something was left running");
    let backend = local.backend().await;
    assert_no_process_in(&local.folder(session.hash));
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_process_with_the_same_id_is_not_touched() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    backend.shutdown().await;
    drop(backend);
    let repo = local.repo(session.hash);
    let mut bystander = Command::new("sleep").arg("1000").current_dir(&repo).spawn().expect("a bystander");
    for started in [1_000_000_000_u64, start_time(bystander.id())] {
        edit(&local, &session, |record| {
            record["process"] = serde_json::json!({ "pid": bystander.id(), "started": started });
            record["kept"] = serde_json::json!({ "is": "running" });
        });
        let backend = local.backend().await;
        assert!(bystander.try_wait().expect("a child").is_none(), "a foreign process was ended");
        backend.shutdown().await;
    }
    bystander.kill().expect("killed");
    bystander.wait().expect("ended");
}

/// Returns when a process started, in seconds since 1970.
fn start_time(pid: u32) -> u64 {
    use sysinfo::{Pid, ProcessesToUpdate, System};
    let mut system = System::new().expect("a process table");
    let pid = Pid::from_u32(pid);
    system.refresh_processes(ProcessesToUpdate::Some(&[pid]), true);
    system.process(pid).expect("the process").start_time()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_clone_is_made_again() {
    let mut local = Local::new();
    local.settings.git = hanging_git(&local);
    let session = local.session("origin", "main", None);
    let router = Router::start(&local, "the router has started");
    let half = local.folder(session.hash).join("repo.partial/half");
    let hangs = tokio::time::timeout(TIMEOUT, async {
        while !half.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    hangs.await.expect("git begins");
    router.kill();
    local.settings.git = "git".into();
    the_next_router_ends_everything(&local, &session).await;
    assert!(!half.exists(), "a part of the clone is left");
    let readme = fs::read_to_string(local.repo(session.hash).join("README.md")).expect("a file");
    assert_eq!(readme, "hello\n", "the clone is not complete");
}
