//! Clones, and the failures of clones.

use std::{
    fs,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use pod_manager::{
    Credentials, FailureCode, Phase, SessionBackend, SessionStatus, Source, Stage, StopReason,
    contract::{Harness, WatchProbe},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::harness::{Local, TIMEOUT, assert_no_process_in, environment, fail, run, script};

fn cloning(status: &SessionStatus) -> &pod_manager::StageRecord {
    status.stages.iter().find(|record| record.stage == Stage::Cloning).expect("the stage of cloning")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_reports_its_progress() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    let mut probe = WatchProbe::new(&*backend, TIMEOUT);
    backend.start(&session, Credentials::NONE).await.expect("start");
    let in_progress = |status: &SessionStatus| !status.stages.is_empty() && cloning(status).percent.is_some();
    let status = probe.wait_for(session.hash, "cloning", in_progress).await;
    assert_eq!(cloning(&status).message.as_deref(), Some("Receiving the repository"));
    probe.wait_running(session.hash).await;
    let status = probe.status(session.hash).expect("a status");
    assert!(cloning(status).ended.is_some());
    assert_eq!(fs::read_to_string(local.repo(session.hash).join("README.md")).expect("a file"), "hello\n");
    let log = backend.logs(session.hash, 100).await.expect("logs");
    assert!(log.contains("$ git clone"), "{log}");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_user_can_clone_a_path_of_their_machine() {
    let local = Local::new();
    let path = local.root().join("origin.git").display().to_string();
    let (backend, session) = (local.backend().await, local.session_at(&path, "main", None));
    run(&backend, &session).await;
    assert!(local.repo(session.hash).join("README.md").exists());
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_repository_fails_with_its_own_code() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("nowhere", "main", None));
    let failure = fail(&backend, &session).await;
    assert_eq!(failure.code, FailureCode::RepositoryNotFound);
    assert!(failure.log_tail.expect("git's output").contains("fatal:"));
    assert!(!local.folder(session.hash).join("repo.partial").exists(), "a part of the clone is left");
    backend.shutdown().await;
}

/// Starts a web server that answers everything with one status line; returns a URL of it.
async fn web_server(status: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let answer = format!(
                    "HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\
                     Connection: close\r\n\r\n"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    format!("http://{address}/acme/widgets.git")
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_of_a_web_server_have_their_own_codes() {
    let local = Local::new();
    let backend = local.backend().await;
    for (status, code) in [
        ("404 Not Found", FailureCode::RepositoryNotFound),
        ("401 Unauthorized", FailureCode::AuthenticationFailed),
        ("403 Forbidden", FailureCode::AuthenticationFailed),
        ("503 Service Unavailable", FailureCode::NetworkUnreachable),
    ] {
        let session = local.session_at(&web_server(status).await, "main", None);
        let failure = fail(&backend, &session).await;
        assert_eq!(failure.code, code, "{status}: {failure:?}");
    }
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_remote_fails_with_its_own_code() {
    let local = Local::new();
    let backend = local.backend().await;
    // A port that was free just now: nothing listens on it.
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    for url in [
        format!("http://127.0.0.1:{port}/a/b"),
        format!("git://127.0.0.1:{port}/a/b"),
        "http://nothing.invalid/a/b".to_owned(),
    ] {
        let failure = fail(&backend, &local.session_at(&url, "main", None)).await;
        assert_eq!(failure.code, FailureCode::NetworkUnreachable, "{url}: {failure:?}");
    }
    backend.shutdown().await;
}

/// `git daemon`, which ends when this is dropped.
struct Daemon(Child, u16);

impl Daemon {
    fn serve(local: &Local, folder: &Path) -> Self {
        for _ in 0..20 {
            let port =
                TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
            let mut child = Command::new("git")
                .args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1"])
                .args([format!("--port={port}"), format!("--base-path={}", folder.display())])
                .env_clear()
                .envs(environment(&local.root().join("home")))
                .stderr(Stdio::null())
                .process_group(0)
                .spawn()
                .expect("git daemon runs");
            let start = std::time::Instant::now();
            while start.elapsed() < Duration::from_secs(5) && child.try_wait().expect("a child").is_none() {
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self(child, port);
                }
                std::thread::yield_now();
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("git daemon does not listen");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).expect("an id"));
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_over_the_network_works_and_reports_a_missing_repository() {
    let local = Local::new();
    let daemon = Daemon::serve(&local, &local.root());
    let backend = local.backend().await;
    let url = |name: &str| format!("git://127.0.0.1:{}/{name}", daemon.1);
    let session = local.session_at(&url("origin.git"), "release", None);
    run(&backend, &session).await;
    assert_eq!(local.git(&local.repo(session.hash), &["branch", "--show-current"]), "release");
    let failure = fail(&backend, &local.session_at(&url("other.git"), "main", None)).await;
    assert_eq!(failure.code, FailureCode::RepositoryNotFound, "{failure:?}");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_asks_no_questions_unless_the_user_configured_it() {
    let mut local = Local::new();
    let (bin, called) = (local.root().join("bin"), local.root().join("called"));
    fs::create_dir(&bin).expect("a folder");
    let lines = |name: &str| {
        format!(
            "echo {name} \"$@\" > '{}'\necho 'Permission denied (publickey).' >&2; exit 255",
            called.display()
        )
    };
    script(&bin.join("ssh"), &lines("ssh"));
    let own = script(&bin.join("own"), &lines("own"));
    for (name, value) in &mut local.settings.environment {
        if name == "PATH" {
            *value = format!("{}:{}", bin.display(), value.to_str().expect("text")).into();
        }
    }
    let backend = local.backend().await;
    let failure = fail(&backend, &local.session_at("git@example.invalid:a/b", "main", None)).await;
    assert_eq!(failure.code, FailureCode::AuthenticationFailed, "{failure:?}");
    let command = fs::read_to_string(&called).expect("ssh was called");
    assert!(command.starts_with("ssh -o BatchMode=yes"), "{command}");

    let config = format!("[core]\n\tsshCommand = {}\n", own.display());
    fs::write(local.root().join("home/.gitconfig"), config).expect("a file");
    fail(&backend, &local.session_at("ssh://git@example.invalid/a/b", "main", None)).await;
    let command = fs::read_to_string(&called).expect("ssh was called");
    assert!(command.starts_with("own ") && !command.contains("BatchMode"), "{command}");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_on_a_full_disk_fails_with_its_own_code() {
    let mut local = Local::new();
    local.settings.git = script(
        &local.root().join("git"),
        "case \"$*\" in *clone*)\n\
         echo 'error: file write error: No space left on device' >&2; exit 128;; esac",
    );
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    let failure = fail(&backend, &session).await;
    assert_eq!(failure.code, FailureCode::DiskFull);
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_git_fails_with_advice() {
    let mut local = Local::new();
    local.settings.git = local.root().join("nowhere/git");
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    let failure = fail(&backend, &session).await;
    assert_eq!(failure.code, FailureCode::CloneFailed);
    assert!(failure.advice.contains("Install git"), "{}", failure.advice);
    backend.shutdown().await;
}

/// A git that hangs in the middle of a clone, with a child that hangs as well.
pub(super) fn hanging_git(local: &Local) -> std::path::PathBuf {
    let lines = "case \"$*\" in *clone*)\n\
                 mkdir -p repo.partial/.git; echo half > repo.partial/half; echo on > hanging\n\
                 sleep 1000 & sleep 1000;; esac\n\
                 exec git \"$@\"";
    script(&local.root().join("git"), lines)
}

async fn wait_until_git_hangs(local: &Local, session: &pod_manager::Session) {
    let hangs = tokio::time::timeout(TIMEOUT, async {
        while !local.folder(session.hash).join("hanging").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    hangs.await.expect("git begins");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_or_a_delete_ends_a_clone_with_all_its_processes() {
    let mut local = Local::new();
    local.settings.git = hanging_git(&local);
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    let mut probe = WatchProbe::new(&*backend, TIMEOUT);
    backend.start(&session, Credentials::NONE).await.expect("start");
    wait_until_git_hangs(&local, &session).await;
    backend.stop(session.hash, StopReason::Requested).await.expect("stop");
    let status = probe.wait_stopped(session.hash).await;
    assert_eq!(status.phase, Phase::Stopped(StopReason::Requested));
    assert_no_process_in(&local.folder(session.hash));
    assert!(!local.repo(session.hash).exists(), "a part of a clone became the repository");

    fs::remove_file(local.folder(session.hash).join("hanging")).expect("removed");
    backend.start(&session, Credentials::NONE).await.expect("start");
    wait_until_git_hangs(&local, &session).await;
    backend.delete(session.hash).await.expect("delete");
    probe.wait_removed(session.hash).await;
    assert!(!local.stored(session.hash).await, "nothing is left");
    assert_no_process_in(&local.root());
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_project_needs_no_identity_of_the_user() {
    let local = Local::new();
    let mut session = local.session("origin", "main", None);
    session.source = Source::Empty;
    let backend = local.backend().await;
    run(&backend, &session).await;
    let repo = local.repo(session.hash);
    assert_eq!(local.git(&repo, &["log", "--format=%s|%ae"]), "Initial commit|alice@example.com");
    assert_eq!(local.git(&repo, &["branch", "--show-current"]), "main");
    assert_eq!(local.git(&repo, &["ls-tree", "HEAD"]), "", "the first commit is empty");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_project_uses_the_git_identity_of_the_user() {
    let local = Local::new();
    let config = "[user]\n\tname = Ada\n\temail = ada@example.org\n[init]\n\tdefaultBranch = trunk\n\
                  [commit]\n\tgpgSign = true\n";
    fs::write(local.root().join("home/.gitconfig"), config).expect("a file");
    let mut session = local.session("origin", "main", None);
    session.source = Source::Empty;
    let backend = local.backend().await;
    run(&backend, &session).await;
    let repo = local.repo(session.hash);
    assert_eq!(local.git(&repo, &["log", "--format=%an|%ae"]), "Ada|ada@example.org");
    assert_eq!(local.git(&repo, &["branch", "--show-current"]), "trunk");
    backend.shutdown().await;
}
