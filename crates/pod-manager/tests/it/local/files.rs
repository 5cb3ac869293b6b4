//! The state folder: its lock, its permissions, damage and removal.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use futures_util::StreamExt;
use pod_manager::{
    BackendError, Credentials, Phase, SessionBackend, StopReason, WatchEvent,
    contract::{Harness, WatchProbe},
    local::LocalError,
};

use super::harness::{Local, TIMEOUT, run, stop};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_router_is_refused_and_learns_of_the_first() {
    let local = Local::new();
    let backend = local.backend().await;
    let refused = local.try_backend().await.err().expect("refused");
    assert!(matches!(refused, LocalError::InUse { pid: Some(pid), .. } if pid == std::process::id()));
    assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
    backend.shutdown().await;
    local.backend().await.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_of_a_newer_router_is_refused() {
    let local = Local::new();
    local.backend().await.shutdown().await;
    let path = local.settings.state_dir.join("state.json");
    fs::write(&path, r#"{"version":2}"#).expect("written");
    assert!(matches!(local.try_backend().await, Err(LocalError::Newer { .. })));
    assert_eq!(fs::read_to_string(&path).expect("a file"), r#"{"version":2}"#, "the file was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_state_folder_is_named_by_the_error() {
    let mut local = Local::new();
    let file = local.root().join("file");
    fs::write(&file, "").expect("a file");
    local.settings.state_dir = file.join("state");
    let refused = local.try_backend().await.err().expect("refused");
    assert!(refused.to_string().contains("file/state"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_files_are_readable_by_their_owner_only() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    let folder = local.folder(session.hash);
    for dir in ["", "data", "data/opencode", "state", "cache", "log"] {
        assert_eq!(mode(&folder.join(dir)), 0o700, "{dir}");
    }
    for file in ["session.json", "log/opencode.log"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&local.settings.state_dir), 0o700);
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_session_file_is_set_aside_and_the_others_load() {
    let local = Local::new();
    let backend = local.backend().await;
    let sessions = [local.session("origin", "main", None), local.session("origin", "release", None)];
    for session in &sessions {
        run(&backend, session).await;
    }
    backend.shutdown().await;
    let folder = local.folder(sessions[0].hash);
    fs::write(folder.join("session.json"), "{\"version\": 1, \"sess").expect("damaged");
    fs::write(folder.join("repo/work.txt"), "hours of it").expect("work");

    let backend = local.backend().await;
    let Some(WatchEvent::Snapshot(all)) = backend.watch().next().await else { panic!("a snapshot") };
    assert_eq!(all.iter().map(|status| status.session.hash).collect::<Vec<_>>(), [sessions[1].hash]);
    let aside = fs::read_to_string(folder.join("session.damaged-0.json")).expect("the file set aside");
    assert_eq!(aside, "{\"version\": 1, \"sess");
    run(&backend, &sessions[0]).await;
    let work = fs::read_to_string(folder.join("repo/work.txt")).expect("the work");
    assert_eq!(work, "hours of it", "creating the session again loses its files");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_newer_router_is_not_touched() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    backend.shutdown().await;
    let path = local.folder(session.hash).join("session.json");
    fs::write(&path, r#"{"version":2,"new":true}"#).expect("written");
    let backend = local.backend().await;
    let Some(WatchEvent::Snapshot(all)) = backend.watch().next().await else { panic!("a snapshot") };
    assert_eq!(all.len(), 0);
    assert!(matches!(backend.start(&session, Credentials::NONE).await, Err(BackendError::Storage(_))));
    assert!(matches!(backend.delete(session.hash).await, Err(BackendError::Storage(_))));
    assert_eq!(fs::read_to_string(&path).expect("a file"), r#"{"version":2,"new":true}"#);
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partly_written_session_file_is_ignored() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    backend.shutdown().await;
    let folder = local.folder(session.hash);
    fs::write(folder.join(".session.json.partial"), "{").expect("written");
    let empty = local.settings.state_dir.join("sessions/0123456789ab");
    fs::create_dir(&empty).expect("a folder");
    fs::write(empty.join(".session.json.partial"), "{").expect("written");
    let backend = local.backend().await;
    let Some(WatchEvent::Snapshot(all)) = backend.watch().next().await else { panic!("a snapshot") };
    assert_eq!(all.len(), 1);
    assert!(!empty.exists(), "an empty folder is left");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_folders_are_removed_too() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    let module = local.folder(session.hash).join("cache/go/mod/example");
    fs::create_dir_all(&module).expect("folders");
    fs::write(module.join("file.go"), "package x").expect("a file");
    for dir in [&module, module.parent().expect("a parent")] {
        fs::set_permissions(dir, PermissionsExt::from_mode(0o555)).expect("read-only");
    }
    let precious = local.root().join("precious");
    fs::create_dir(&precious).expect("a folder");
    std::os::unix::fs::symlink(&precious, local.repo(session.hash).join("link")).expect("a link");
    let mut probe = WatchProbe::new(&*backend, TIMEOUT);
    probe.wait_running(session.hash).await;
    backend.delete(session.hash).await.expect("delete");
    probe.wait_removed(session.hash).await;
    assert!(!local.stored(session.hash).await, "nothing is left");
    assert!(precious.exists(), "the target of a link was removed");
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_removal_is_finished_by_the_next_router() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    run(&backend, &session).await;
    stop(&backend, &session).await;
    backend.shutdown().await;
    // As if the router had been killed right after it saved the deletion of one session, and after it moved
    // the files of another one.
    let path = local.folder(session.hash).join("session.json");
    let text = fs::read_to_string(&path).expect("a record");
    fs::write(&path, text.replace("\"deletion\": null", "\"deletion\": {}")).expect("written");
    let moved = local.settings.state_dir.join("trash/0123456789ab.00");
    fs::create_dir_all(moved.join("repo")).expect("a folder");

    let backend = local.backend().await;
    let mut probe = WatchProbe::new(&*backend, TIMEOUT);
    probe.wait_removed(session.hash).await;
    assert!(!local.stored(session.hash).await, "nothing is left");
    backend.shutdown().await;
    // Files are removed in the background; the next router finishes what this one did not.
    let backend = local.backend().await;
    backend.shutdown().await;
    let removed = tokio::time::timeout(TIMEOUT, async {
        while moved.exists() {
            tokio::task::yield_now().await;
        }
    });
    assert!(removed.await.is_ok(), "the folder is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_be_saved_is_refused_and_leaves_nothing() {
    let local = Local::new();
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    let sessions = local.settings.state_dir.join("sessions");
    fs::remove_dir(&sessions).expect("removed");
    fs::write(&sessions, "in the way").expect("a file");
    assert!(matches!(backend.start(&session, Credentials::NONE).await, Err(BackendError::Storage(_))));
    fs::remove_file(&sessions).expect("removed");
    fs::create_dir(&sessions).expect("a folder");
    run(&backend, &session).await;
    let first = backend.watch().next().await;
    let Some(WatchEvent::Snapshot(all)) = first else { panic!("a snapshot") };
    assert!(matches!(all[0].phase, Phase::Running(_)), "the session does not run");
    backend.stop(session.hash, StopReason::Idle).await.expect("stop");
    backend.shutdown().await;
}
