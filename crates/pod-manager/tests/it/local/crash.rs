//! After `kill -9` of the router: the next one ends what was left running.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use pod_manager::{
    Credentials, Phase, Session, SessionBackend, StopReason,
    contract::{Eye, Harness},
};

use super::{
    cloning::hanging_git,
    harness::{Local, PATIENCE, nothing_runs_in, processes_in, run},
    stand_in::variable,
};

const ROOT: &str = "CRASH_ROOT";
const GIT: &str = "CRASH_GIT";
const OPENCODE: &str = "CRASH_OPENCODE";

/// A router of its own process, that is killed.
pub(super) struct Router(Child);

impl Router {
    /// Starts one that starts the session `main`, and waits until it says something.
    pub(super) fn start(local: &Local, says: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .args(["--exact", "local::crash::router", "--ignored", "--nocapture"])
            .env(ROOT, local.root())
            .env(GIT, &local.settings.git)
            .env(OPENCODE, &local.settings.opencode)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the router starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let said = lines.any(|line| line.expect("a line").ends_with(says));
        assert!(said, "the router ended early");
        Self(child)
    }

    pub(super) fn kill(mut self) {
        self.0.kill().expect("it is there");
        self.0.wait().expect("it ends");
    }
}

#[test]
#[ignore = "it is a program that other tests start"]
fn router() {
    let Some(root) = variable(ROOT) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut local = Local::at(PathBuf::from(root));
        local.settings.git = variable(GIT).expect("a git").into();
        local.settings.opencode = variable(OPENCODE).expect("an opencode").into();
        let (backend, session) = (local.backend().await, local.session("origin", "main", None));
        let mut eye = Eye::on(&*backend, PATIENCE);
        backend.start(&session, Credentials::NONE).await.expect("start");
        println!("the router has begun");
        eye.running(session.hash).await;
        println!("the session runs");
        std::future::pending::<()>().await;
    });
}

fn left_running(local: &Local, session: &Session) -> usize {
    processes_in(&local.folder(session.hash)).map_or(1, |all| all.len())
}

/// The session's record with something in it changed.
fn edit(local: &Local, session: &Session, change: impl FnOnce(&mut serde_json::Value)) {
    let path = local.folder(session.hash).join("session.json");
    let mut record = serde_json::from_slice(&fs::read(&path).expect("a record")).expect("JSON");
    change(&mut record);
    fs::write(&path, record.to_string()).expect("written");
}

pub(super) async fn the_next_router_ends_it_all(local: &Local, session: &Session) {
    assert!(left_running(local, session) > 0, "something was left running");
    let backend = local.backend().await;
    nothing_runs_in(&local.folder(session.hash));
    let seen = Eye::on(&*backend, PATIENCE).stopped(session.hash).await;
    assert_eq!(seen.phase, Phase::Stopped(StopReason::RouterCrashed));
    run(&backend, session).await;
    assert_eq!(local.processes(session.hash).await.unwrap_or(1), 1);
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_router_left_running_is_ended_and_told_as_stopped() {
    let local = Local::new();
    let session = local.session("origin", "main", None);
    Router::start(&local, "the session runs").kill();
    the_next_router_ends_it_all(&local, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_never_written_down_is_found_all_the_same() {
    let local = Local::new();
    let session = local.session("origin", "main", None);
    Router::start(&local, "the session runs").kill();
    edit(&local, &session, |record| {
        assert!(record["process"]["pid"].as_i64().is_some_and(|pid| pid > 1), "it was written down");
        record["process"] = serde_json::Value::Null;
    });
    the_next_router_ends_it_all(&local, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_a_session_whose_record_is_damaged_is_ended_too() {
    let local = Local::new();
    let session = local.session("origin", "main", None);
    Router::start(&local, "the session runs").kill();
    fs::write(local.folder(session.hash).join("session.json"), "{").expect("damaged");
    assert!(left_running(&local, &session) > 0, "something was left running");
    let backend = local.backend().await;
    nothing_runs_in(&local.folder(session.hash));
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_process_with_the_same_number_is_not_touched() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    backend.shutdown().await;
    drop(backend);
    let repo = local.repo(session.hash);
    let mut bystander = Command::new("sleep").arg("1000").current_dir(&repo).spawn().expect("a bystander");
    for started in [1_000_000_000_u64, pod_manager_start_time(bystander.id())] {
        edit(&local, &session, |record| {
            record["process"] = serde_json::json!({ "pid": bystander.id(), "started": started });
            record["kept"] = serde_json::json!({ "is": "running" });
        });
        let backend = local.backend().await;
        assert!(bystander.try_wait().expect("a child").is_none(), "it goes on");
        backend.shutdown().await;
    }
    bystander.kill().expect("it is there");
    bystander.wait().expect("it ends");
}

/// When a process started, in seconds since 1970.
fn pod_manager_start_time(pid: u32) -> u64 {
    use sysinfo::{Pid, ProcessesToUpdate, System};
    let mut system = System::new().expect("a process table");
    let pid = Pid::from_u32(pid);
    system.refresh_processes(ProcessesToUpdate::Some(&[pid]), true);
    system.process(pid).expect("it is there").start_time()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_that_was_cut_off_is_made_anew() {
    let mut local = Local::new();
    local.settings.git = hanging_git(&local);
    let session = local.session("origin", "main", None);
    let router = Router::start(&local, "the router has begun");
    let half = local.folder(session.hash).join("repo.partial/half");
    let hangs = tokio::time::timeout(PATIENCE, async {
        while !half.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    hangs.await.expect("git begins");
    router.kill();
    local.settings.git = "git".into();
    the_next_router_ends_it_all(&local, &session).await;
    assert!(!half.exists(), "the half is gone");
    let readme = fs::read_to_string(local.repo(session.hash).join("README.md")).expect("a file");
    assert_eq!(readme, "hello\n", "the whole is there");
}
