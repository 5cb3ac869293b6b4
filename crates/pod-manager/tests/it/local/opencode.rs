//! Sessions with the real opencode, if it is installed (`make test` installs it).

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use std::{fs, path::PathBuf, time::Duration};

use pod_manager::{
    Endpoint, Phase, SessionBackend, SessionStatus, StopReason,
    contract::{Harness, WatchProbe},
};

use super::{
    crash::{Router, the_next_router_ends_everything},
    fake_opencode::variable,
    harness::{Local, TIMEOUT, assert_no_process_in, get, processes_in, run, stop},
};

/// Printed if opencode is not installed.
const SKIPPED: &str = "SKIPPED: opencode is not installed; `make test` installs it, or set OPENCODE_BIN";

/// Creates a harness with the real opencode; returns `None` if it is not installed.
fn real() -> Option<Local> {
    let installed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.opencode/bin/opencode");
    let program = variable("OPENCODE_BIN").map_or(installed, PathBuf::from);
    if !program.exists() {
        return None;
    }
    let mut local = Local::new();
    local.settings.opencode = program;
    local.settings.limits.ready = Duration::from_secs(80);
    local.settings.limits.stop = Duration::from_secs(20);
    // Nothing here needs the network.
    for name in ["OPENCODE_DISABLE_MODELS_FETCH", "OPENCODE_DISABLE_LSP_DOWNLOAD"] {
        local.settings.variables.push((name.into(), "1".into()));
    }
    Some(local)
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_the_real_opencode_run_side_by_side_and_end() {
    let Some(local) = real() else { return println!("{SKIPPED}") };
    let keys = local.root().join("home/.local/share/opencode/auth.json");
    fs::create_dir_all(keys.parent().expect("a folder")).expect("a folder");
    fs::write(&keys, r#"{"anthropic":{"type":"api","key":"no key at all"}}"#).expect("a file");
    let backend = local.backend().await;
    let sessions = [local.session("origin", "main", None), local.session("origin", "release", None)];
    let mut made = Vec::new();
    for session in &sessions {
        let endpoint = run(&backend, session).await;
        let path: serde_json::Value =
            serde_json::from_str(&get(&endpoint, "/path").await.expect("an answer")).expect("JSON");
        assert_eq!(path["directory"], local.repo(session.hash).display().to_string(), "{path}");
        let password = endpoint.password.as_ref().expect("a password").expose();
        let answer = reqwest::Client::new()
            .post(format!("http://{}/session", endpoint.address))
            .basic_auth("opencode", Some(password))
            .json(&serde_json::json!({}))
            .send()
            .await
            .expect("an answer");
        let answer: serde_json::Value = answer.json().await.expect("JSON");
        made.push((endpoint, answer["id"].as_str().expect("an id").to_owned()));
    }
    for (at, (endpoint, id)) in made.iter().enumerate() {
        let listed = get(endpoint, "/session").await.expect("an answer");
        assert!(listed.contains(id.as_str()), "its own conversation is missing");
        assert!(!listed.contains(made[1 - at].1.as_str()), "it lists the conversation of another session");
    }
    let providers = get(&made[0].0, "/provider").await.expect("an answer");
    let providers: serde_json::Value = serde_json::from_str(&providers).expect("JSON");
    let connected = providers["connected"].as_array().expect("a list");
    assert!(connected.iter().any(|name| name == "anthropic"), "the user's provider: {connected:?}");
    let start = std::time::Instant::now();
    stop(&backend, &sessions[0]).await;
    assert!(start.elapsed() < local.settings.limits.stop, "opencode had to be killed");
    assert_no_process_in(&local.folder(sessions[0].hash));
    let again = run(&backend, &sessions[0]).await;
    let listed = get(&again, "/session").await.expect("an answer");
    assert!(listed.contains(made[0].1.as_str()), "the conversation is lost");
    let mut probe = WatchProbe::new(&*backend, TIMEOUT);
    probe.wait_running(sessions[1].hash).await;
    backend.delete(sessions[1].hash).await.expect("delete");
    probe.wait_removed(sessions[1].hash).await;
    assert!(!local.stored(sessions[1].hash).await, "nothing is left");
    backend.shutdown().await;
    assert_no_process_in(&local.root());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_real_opencode_is_restarted() {
    let Some(local) = real() else { return println!("{SKIPPED}") };
    let (backend, session) = (local.backend().await, local.session("origin", "main", None));
    let first = run(&backend, &session).await;
    let all = processes_in(&local.repo(session.hash)).unwrap_or_default();
    let Some(pid) = all.first() else { return };
    let pid = nix::unistd::Pid::from_raw(i32::try_from(*pid).expect("an id"));
    let mut probe = WatchProbe::new(&*backend, TIMEOUT);
    probe.wait_running(session.hash).await;
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
    let is_new = |endpoint: &Endpoint| endpoint.run_id != first.run_id;
    let restarted =
        |status: &SessionStatus| matches!(&status.phase, Phase::Running(endpoint) if is_new(endpoint));
    probe.wait_for(session.hash, "running again", restarted).await;
    backend.stop(session.hash, StopReason::Idle).await.expect("stop");
    probe.wait_stopped(session.hash).await;
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_opencode_that_a_killed_router_left_running_is_ended() {
    let Some(local) = real() else { return println!("{SKIPPED}") };
    let session = local.session("origin", "main", None);
    Router::start(&local, "the session runs").kill();
    the_next_router_ends_everything(&local, &session).await;
}
