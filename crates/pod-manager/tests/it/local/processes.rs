//! How opencode's process is started, watched over and ended; with a stand-in for it.

use std::{fs, time::Duration};

use futures_util::StreamExt;
use pod_manager::{
    Credentials, FailureCode, Phase, SessionBackend, Stage, StopReason, WatchEvent,
    contract::{Eye, Harness},
};
use tokio::time::timeout;

use super::harness::{Local, PATIENCE, fail, get, nothing_runs_in, processes_in, run, stop};

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
    assert!(!found_below(&local.folder(session.hash), password.expose()), "it is in no file");
    backend.shutdown().await;
}

fn found_below(folder: &std::path::Path, text: &str) -> bool {
    fs::read_dir(folder).expect("a folder").flatten().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => found_below(&entry.path(), text),
        Ok(kind) if kind.is_file() => {
            fs::read(entry.path()).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
        }
        _ => false,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_told_and_mended() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    let first = run(&backend, &session).await;
    let mut eye = Eye::on(&*backend, PATIENCE);
    eye.running(session.hash).await;
    assert_eq!(get(&first, "/crash").await, None, "it breaks");
    let told = |seen: &pod_manager::SessionStatus| {
        let stage = seen.stages.iter().find(|record| record.stage == Stage::Starting);
        let message = stage.and_then(|record| record.message.as_deref()).unwrap_or_default();
        seen.phase == Phase::Starting && message.contains("exit code 5")
    };
    eye.until(session.hash, "starting again", told).await;
    let second = eye.running(session.hash).await;
    assert_ne!(first.run_id, second.run_id, "another run");
    assert!(get(&second, "/folder").await.is_some(), "it answers again");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_once_at_its_start_runs_the_next_time() {
    let local = Local::that("crash-once");
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    assert_eq!(fs::read_to_string(local.folder(session.hash).join("data/starts")).expect("a count"), "2");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_again_and_again_has_failed() {
    let local = Local::that("crash");
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
    let seen = Eye::on(&*backend, PATIENCE).failed(session.hash).await;
    assert!(matches!(&seen.phase, Phase::Failed(kept) if kept.message == failure.message), "it is kept");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_from_outside_hints_at_memory() {
    let local = Local::that("killed");
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    let failure = fail(&backend, &session).await;
    assert_eq!(failure.code, FailureCode::OpencodeCrashed);
    assert!(failure.message.contains("signal 9"), "{}", failure.message);
    assert!(failure.advice.contains("memory"), "{}", failure.advice);
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_as_one() {
    let local = Local::that("full");
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    assert_eq!(fail(&backend, &session).await.code, FailureCode::DiskFull);
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_answers_or_answers_everybody_is_not_ready() {
    for how in ["mute", "open"] {
        let mut local = Local::that(how);
        local.settings.limits.ready = Duration::from_secs(2);
        let (backend, session) = (local.backend().await, local.session("origin", "main", None));
        let failure = fail(&backend, &session).await;
        assert_eq!(failure.code, FailureCode::OpencodeNotReady, "{how}");
        assert!(failure.log_tail.expect("the end of the log").contains("stand-in listening"));
        assert_eq!(local.processes(session.hash).await.unwrap_or(0), 0, "no process is left");
        backend.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opencode_that_is_not_there_is_told_with_what_to_do() {
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
async fn what_does_not_hear_is_ended_by_force() {
    let mut local = Local::that("deaf");
    local.settings.limits.stop = Duration::from_millis(600);
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    stop(&backend, &session).await;
    nothing_runs_in(&local.folder(session.hash));
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_opencode_started_ends_with_it() {
    let mut local = Local::that("family");
    local.settings.limits.stop = Duration::from_secs(1);
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    let endpoint = run(&backend, &session).await;
    let before = processes_in(&local.folder(session.hash)).unwrap_or_default();
    assert!(before.len() >= 4 || cfg!(not(target_os = "linux")), "there is a family: {before:?}");
    assert_eq!(get(&endpoint, "/crash").await, None, "it breaks");
    let mut eye = Eye::on(&*backend, PATIENCE);
    let again = |seen: &pod_manager::SessionStatus| matches!(&seen.phase, Phase::Running(e) if e.run_id != endpoint.run_id);
    eye.until(session.hash, "running again", again).await;
    let after = processes_in(&local.folder(session.hash)).unwrap_or_default();
    assert!(!after.iter().any(|pid| before.contains(pid)), "the first family is gone: {before:?}, {after:?}");
    stop(&backend, &session).await;
    nothing_runs_in(&local.folder(session.hash));
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_does_not_grow_without_bound() {
    let mut local = Local::that("spew");
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
    assert!(logs.contains("stand-in listening"), "{logs}");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routers_end_ends_all_at_once_and_tells_why() {
    let mut local = Local::that("deaf");
    local.settings.limits.stop = Duration::from_millis(900);
    let backend = local.backend().await;
    let sessions: Vec<_> = (0..4).map(|n| local.session("origin", &format!("work/{n}"), None)).collect();
    for session in &sessions {
        run(&backend, session).await;
    }
    let mut news = backend.watch();
    let begun = std::time::Instant::now();
    backend.shutdown().await;
    assert!(begun.elapsed() < Duration::from_millis(900 * 3), "one after the other: {:?}", begun.elapsed());
    nothing_runs_in(&local.root());
    let ended = timeout(PATIENCE, async { while news.next().await.is_some() {} }).await;
    assert!(ended.is_ok(), "the watchers' streams end");
    let refused = backend.start(&sessions[0], Credentials::NONE).await;
    assert!(matches!(refused, Err(pod_manager::BackendError::Unavailable(_))), "{refused:?}");
    drop(backend);

    let backend = local.backend().await;
    let Some(WatchEvent::Snapshot(all)) = backend.watch().next().await else { panic!("a snapshot") };
    assert_eq!(all.len(), 4);
    assert!(all.iter().all(|seen| seen.phase == Phase::Stopped(StopReason::RouterStopped)), "{all:?}");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_dropped_leaves_no_process() {
    let local = Local::that("deaf");
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    drop(backend);
    let gone = timeout(PATIENCE, async {
        while processes_in(&local.root()).is_some_and(|all| !all.is_empty()) {
            // They are nobody's children here: the table of processes is all there is to look at.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(gone.await.is_ok(), "a process is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_their_single_user_users_have_their_home_and_their_providers() {
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
async fn elsewhere_a_session_has_a_home_of_its_own_with_its_owners_name_for_git() {
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
    let config = fs::read_to_string(home.join(".gitconfig")).expect("a configuration");
    assert!(config.contains("alice@example.com"), "{config}");

    let paths = local.session("origin", "release", None);
    assert_eq!(fail(&backend, &paths).await.code, FailureCode::CloneFailed, "no paths of the machine");
    backend.shutdown().await;
}
