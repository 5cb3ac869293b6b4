//! How opencode's process is started, restarted and ended, with a fake opencode.

use std::{fs, time::Duration};

use futures_util::StreamExt;
use pod_manager::{
    Credentials, Endpoint, FailureCode, GitAuthor, Phase, SessionBackend, SessionStatus, Stage, StopReason,
    WatchEvent,
    contract::{Harness, WatchProbe},
};
use tokio::time::timeout;

use super::harness::{Local, TIMEOUT, assert_no_process_in, fail, get, processes_in, run, stop};

#[tokio::test(flavor = "multi_thread")]
async fn opencode_works_in_the_repository_and_asks_for_its_own_password() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    let endpoint = run(&backend, &session).await;
    assert!(endpoint.address.ip().is_loopback());
    let folder = get(&endpoint, "/folder").await.expect("an answer");
    assert_eq!(folder, local.repo(session.hash).display().to_string());
    let stranger = reqwest::get(format!("http://{}/folder", endpoint.address)).await.expect("an answer");
    assert_eq!(stranger.status(), 401);

    let other = local.session("origin", "release", None);
    let others = run(&backend, &other).await;
    assert_ne!(endpoint.address, others.address);
    let password = endpoint.password.expect("a password");
    assert_ne!(Some(&password), others.password.as_ref());
    assert!(password.expose().len() >= 43, "32 bytes");
    assert!(!contains_below(&local.folder(session.hash), password.expose()), "the password is in a file");
    backend.shutdown().await;
}

fn contains_below(folder: &std::path::Path, text: &str) -> bool {
    fs::read_dir(folder).expect("a folder").flatten().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => contains_below(&entry.path(), text),
        Ok(kind) if kind.is_file() => {
            fs::read(entry.path()).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
        }
        _ => false,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_reported_and_opencode_restarted() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    let first = run(&backend, &session).await;
    let mut probe = WatchProbe::new(&*backend, TIMEOUT);
    probe.wait_running(session.hash).await;
    assert_eq!(get(&first, "/crash").await, None, "opencode crashes");
    let restarting = |status: &SessionStatus| {
        let stage = status.stages.iter().find(|record| record.stage == Stage::Starting);
        let message = stage.and_then(|record| record.message.as_deref()).unwrap_or_default();
        status.phase == Phase::Starting && message.contains("exit code 5")
    };
    probe.wait_for(session.hash, "starting again", restarting).await;
    let second = probe.wait_running(session.hash).await;
    assert_ne!(first.run_id, second.run_id, "another run");
    assert!(get(&second, "/folder").await.is_some(), "opencode does not answer");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_the_start_is_followed_by_a_restart() {
    let local = Local::with_behavior("crash-once");
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    assert_eq!(fs::read_to_string(local.folder(session.hash).join("data/starts")).expect("a count"), "2");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_crashes_fail_the_session() {
    let local = Local::with_behavior("crash");
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    let failure = fail(&backend, &session).await;
    assert_eq!(failure.code, FailureCode::OpencodeCrashed);
    assert!(failure.message.contains("exit code 3, 3 times"), "{}", failure.message);
    let tail = failure.log_tail.expect("the end of the log");
    assert!(tail.contains("Error: it is broken") && !tail.contains('\u{1b}'), "{tail}");
    assert_eq!(fs::read_to_string(local.folder(session.hash).join("data/starts")).expect("a count"), "3");
    assert!(backend.logs(session.hash, 100).await.expect("logs").contains("Error: it is broken"));
    backend.shutdown().await;

    let backend = local.backend().await;
    let status = WatchProbe::new(&*backend, TIMEOUT).wait_failed(session.hash).await;
    assert!(matches!(&status.phase, Phase::Failed(saved) if saved.message == failure.message));
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_suggests_a_lack_of_memory() {
    let local = Local::with_behavior("killed");
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    let failure = fail(&backend, &session).await;
    assert_eq!(failure.code, FailureCode::OpencodeCrashed);
    assert!(failure.message.contains("signal 9"), "{}", failure.message);
    assert!(failure.advice.contains("memory"), "{}", failure.advice);
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_with_its_own_code() {
    let local = Local::with_behavior("full");
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    assert_eq!(fail(&backend, &session).await.code, FailureCode::DiskFull);
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_or_unprotected_opencode_is_not_ready() {
    for behavior in ["mute", "open"] {
        let mut local = Local::with_behavior(behavior);
        local.settings.limits.ready = Duration::from_secs(2);
        let (backend, session) = (local.backend().await, local.session("origin", "main", None));
        let failure = fail(&backend, &session).await;
        assert_eq!(failure.code, FailureCode::OpencodeNotReady, "{behavior}");
        assert!(failure.log_tail.expect("the end of the log").contains("fake listening"));
        assert_eq!(local.processes(session.hash).await.unwrap_or(0), 0, "a process is left");
        backend.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_opencode_fails_with_advice() {
    let mut local = Local::new();
    let missing = local.root().join("nowhere/opencode");
    let no_program = local.root().join("notes.txt");
    fs::write(&no_program, "no program").expect("a file");
    for path in [missing, no_program] {
        local.settings.opencode = path;
        let (backend, session) = (local.backend().await, local.session("origin", "main", None));
        let failure = fail(&backend, &session).await;
        assert_eq!(failure.code, FailureCode::OpencodeNotFound);
        assert!(failure.advice.contains("OPENCODE_BIN"), "{}", failure.advice);
        backend.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ignores_signals_is_killed() {
    let mut local = Local::with_behavior("deaf");
    local.settings.limits.stop = Duration::from_millis(600);
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    stop(&backend, &session).await;
    assert_no_process_in(&local.folder(session.hash));
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn children_of_opencode_end_with_it() {
    let mut local = Local::with_behavior("family");
    local.settings.limits.stop = Duration::from_secs(1);
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    let endpoint = run(&backend, &session).await;
    let before = processes_in(&local.folder(session.hash)).unwrap_or_default();
    assert!(before.len() >= 4 || cfg!(not(target_os = "linux")), "children are missing: {before:?}");
    assert_eq!(get(&endpoint, "/crash").await, None, "opencode crashes");
    let mut probe = WatchProbe::new(&*backend, TIMEOUT);
    let is_new = |running: &Endpoint| running.run_id != endpoint.run_id;
    let restarted =
        |status: &SessionStatus| matches!(&status.phase, Phase::Running(running) if is_new(running));
    probe.wait_for(session.hash, "running again", restarted).await;
    let after = processes_in(&local.folder(session.hash)).unwrap_or_default();
    assert!(
        !after.iter().any(|pid| before.contains(pid)),
        "children of the first run are left: {before:?}, {after:?}"
    );
    stop(&backend, &session).await;
    assert_no_process_in(&local.folder(session.hash));
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_does_not_grow_without_bound() {
    let mut local = Local::with_behavior("spew");
    local.settings.limits.log_bytes = 100_000;
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    stop(&backend, &session).await;
    let size: u64 = fs::read_dir(local.folder(session.hash).join("log"))
        .expect("a folder")
        .map(|entry| entry.expect("a file").metadata().expect("a file").len())
        .sum();
    assert!((100_000..=300_000).contains(&size), "{size}");
    let logs = backend.logs(session.hash, 3).await.expect("logs");
    assert!(logs.contains("fake listening"), "{logs}");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_stops_all_sessions_at_once_and_reports_why() {
    let mut local = Local::with_behavior("deaf");
    local.settings.limits.stop = Duration::from_millis(900);
    let backend = local.backend().await;
    let sessions: Vec<_> = (0..4).map(|n| local.session("origin", &format!("work/{n}"), None)).collect();
    for session in &sessions {
        run(&backend, session).await;
    }
    let mut events = backend.watch();
    let start = std::time::Instant::now();
    backend.shutdown().await;
    assert!(
        start.elapsed() < Duration::from_millis(900 * 3),
        "sessions ended one after the other: {:?}",
        start.elapsed()
    );
    assert_no_process_in(&local.root());
    let ended = timeout(TIMEOUT, async { while events.next().await.is_some() {} }).await;
    assert!(ended.is_ok(), "the watchers' streams end");
    let refused = backend.start(&sessions[0], Credentials::NONE).await;
    assert!(matches!(refused, Err(pod_manager::BackendError::Unavailable(_))), "{refused:?}");
    drop(backend);

    let backend = local.backend().await;
    let Some(WatchEvent::Snapshot(all)) = backend.watch().next().await else { panic!("a snapshot") };
    assert_eq!(all.len(), 4);
    assert!(all.iter().all(|status| status.phase == Phase::Stopped(StopReason::RouterStopped)), "{all:?}");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_dropped_leaves_no_process() {
    let local = Local::with_behavior("deaf");
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    drop(backend);
    let ended = timeout(TIMEOUT, async {
        while processes_in(&local.root()).is_some_and(|all| !all.is_empty()) {
            // They are no children of this process, so that only the process table shows their end.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(ended.await.is_ok(), "a process is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_user_keeps_their_home_and_their_providers() {
    let mut local = Local::new();
    let home = local.root().join("home");
    fs::create_dir_all(home.join(".local/share/opencode")).expect("a folder");
    fs::write(home.join(".local/share/opencode/auth.json"), "{\"a\":1}").expect("a file");
    local.settings.environment.push(("ADMIN_SECRET".into(), "the router's".into()));
    local.settings.environment.push(("ANTHROPIC_API_KEY".into(), "the user's".into()));
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    let environment = get(&run(&backend, &session).await, "/environment").await.expect("an answer");
    let folder = local.folder(session.hash).display().to_string();
    let has = |line: String| environment.lines().any(|known| known == line);
    assert!(has(format!("HOME={}", home.display())), "{environment}");
    assert!(has(format!("XDG_DATA_HOME={folder}/data")), "{environment}");
    assert!(has(format!("XDG_STATE_HOME={folder}/state")), "{environment}");
    assert!(has(format!("XDG_CACHE_HOME={folder}/cache")), "{environment}");
    assert!(has("ANTHROPIC_API_KEY=the user's".to_owned()), "{environment}");
    assert!(!environment.contains("ADMIN_SECRET"), "{environment}");
    let link = local.folder(session.hash).join("data/opencode/auth.json");
    assert_eq!(fs::read_to_string(&link).expect("the keys"), "{\"a\":1}");
    assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
    // What the session itself was signed in to is not thrown away.
    stop(&backend, &session).await;
    fs::remove_file(&link).expect("removed");
    fs::write(&link, "{\"b\":2}").expect("a file");
    run(&backend, &session).await;
    assert_eq!(fs::read_to_string(&link).expect("the keys"), "{\"b\":2}");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_several_users_have_homes_with_their_owners_git_identity() {
    let mut local = Local::new();
    local.settings.single_user = false;
    local.settings.environment.push(("AWS_SECRET_ACCESS_KEY".into(), "the operator's".into()));
    let mut session = local.session("origin", "main", None);
    session.source = pod_manager::Source::Empty;
    let backend = local.backend().await;
    let environment = get(&run(&backend, &session).await, "/environment").await.expect("an answer");
    let home = local.folder(session.hash).join("home");
    assert!(environment.lines().any(|line| line == format!("HOME={}", home.display())), "{environment}");
    assert!(!environment.contains("AWS_SECRET_ACCESS_KEY"), "{environment}");
    assert!(!local.folder(session.hash).join("data/opencode/auth.json").exists(), "no keys of others");
    let author = local.git(&local.repo(session.hash), &["log", "-1", "--format=%an <%ae>"]);
    assert_eq!(author, "alice <alice@example.com>");
    assert!(!home.join(".gitconfig").exists(), "the home's configuration is the user's");

    let paths = local.session("origin", "release", None);
    assert_eq!(fail(&backend, &paths).await.code, FailureCode::CloneFailed, "no paths of the machine");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_the_author_of_a_start_until_its_user_configures_another() {
    let mut local = Local::new();
    local.settings.single_user = false;
    let mut session = local.session("origin", "main", None);
    session.source = pod_manager::Source::Empty;
    let backend = local.backend().await;
    let commit = async || {
        let environment = get(&run(&backend, &session).await, "/environment").await.expect("an answer");
        let variables = environment.lines().filter_map(|line| line.split_once('='));
        let git = |args: &[&str]| {
            let mut git = std::process::Command::new("git");
            git.args(args).current_dir(local.repo(session.hash)).env_clear().envs(variables.clone());
            let output = git.output().expect("git runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("text").trim().to_owned()
        };
        git(&["commit", "--quiet", "--allow-empty", "-m", "test"]);
        let author = git(&["log", "-1", "--format=%an <%ae>"]);
        git(&["config", "--global", "user.name", "A. Configured"]);
        stop(&backend, &session).await;
        author
    };
    let git_author = GitAuthor::new("Alice \"A\" Smith", "17+alice@users.noreply.github.com");
    let credentials = Credentials { git_author, ..Credentials::default() };
    backend.start(&session, &credentials).await.expect("start");
    assert_eq!(commit().await, "Alice \"A\" Smith <17+alice@users.noreply.github.com>");
    assert_eq!(commit().await, "A. Configured <17+alice@users.noreply.github.com>");
    backend.shutdown().await;
}
