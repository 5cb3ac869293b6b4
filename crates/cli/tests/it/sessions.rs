//! Commands that succeed.

use std::{os::unix::fs::PermissionsExt, process::Stdio};

use api::wire::{Session, SessionList, State};
use pod_manager::Stage;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{ALICE, REPO, output, program, run, running_session, soon, start_router};

#[tokio::test]
async fn create_prints_only_the_key_on_standard_output() {
    let router = start_router().await;
    let created = run(&router, &["create", REPO, "fix"]).await;
    assert_eq!(created.success().len(), 12, "{created:?}");
    assert!(created.err.contains("was created"), "{created:?}");
    let again = run(&router, &["create", REPO, "fix", "--quiet"]).await;
    assert_eq!((again.success(), again.err.as_str()), (created.success(), ""));
}

#[tokio::test]
async fn create_with_wait_prints_the_stages_until_the_session_is_running() {
    let router = start_router().await;
    router.backend.hold(Stage::Cloning);
    let mut command = program(router.address());
    command.args(["create", REPO, "fix", "--wait"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    let mut stderr = BufReader::new(child.stderr.take().expect("standard error")).lines();
    let mut lines = Vec::new();
    while !lines.iter().any(|line: &String| line.starts_with("cloning: ")) {
        lines.push(soon(stderr.next_line()).await.expect("UTF-8").expect("another line"));
    }
    router.backend.release(Stage::Cloning);
    while let Some(line) = soon(stderr.next_line()).await.expect("UTF-8") {
        lines.push(line);
    }
    assert!(lines.last().expect("lines").contains("is running: http://"), "{lines:?}");
    assert!(soon(child.wait()).await.expect("the program ends").success());
}

#[tokio::test]
async fn a_list_is_printed_as_a_table_json_or_yaml() {
    let router = start_router().await;
    let hash = running_session(&router, "fix").await;
    let table = run(&router, &["list"]).await;
    let lines: Vec<_> = table.success().lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("KEY") && lines[1].starts_with(&hash.to_string()), "{table:?}");
    assert!(!table.out.contains('\u{1b}'), "no colour without a terminal");
    let wide = run(&router, &["list", "-o", "wide"]).await;
    assert!(wide.success().contains(&format!("http://{hash}.localhost:3000/")), "{wide:?}");
    let json = run(&router, &["-o", "json", "ls"]).await;
    let list: SessionList = serde_json::from_str(json.success()).expect("JSON");
    assert_eq!((list.email.as_str(), list.sessions[0].hash), (ALICE, hash));
    let yaml = run(&router, &["list", "-o", "yaml"]).await;
    assert_eq!(serde_yaml_ng::from_str::<SessionList>(yaml.success()).expect("YAML"), list);
}

#[tokio::test]
async fn an_empty_list_prints_only_a_hint() {
    let router = start_router().await;
    let list = run(&router, &["list"]).await;
    assert_eq!(list.success(), "");
    assert!(list.err.contains("create <REPO>"), "{list:?}");
    let json = run(&router, &["list", "-o", "json"]).await;
    assert_eq!(serde_json::from_str::<SessionList>(json.success()).expect("JSON").sessions, []);
}

#[tokio::test]
async fn a_prefix_of_the_key_names_a_session() {
    let router = start_router().await;
    let hash = running_session(&router, "fix").await.to_string();
    let show = run(&router, &["show", &hash[..4].to_uppercase(), "-o", "json"]).await;
    let session: Session = serde_json::from_str(show.success()).expect("JSON");
    assert_eq!((session.hash.to_string(), session.state), (hash.clone(), State::Running));
    let details = run(&router, &["show", &hash]).await;
    for part in ["State:      running", REPO, "fix", "Owner:      alice@example.com"] {
        assert!(details.success().contains(part), "{part} in {details:?}");
    }
}

#[tokio::test]
async fn stop_and_resume_accept_several_sessions_and_print_their_keys() {
    let router = start_router().await;
    let one = running_session(&router, "one").await.to_string();
    let two = running_session(&router, "two").await.to_string();
    let stopped = run(&router, &["stop", &one, &two]).await;
    assert_eq!(stopped.success(), format!("{one}\n{two}"));
    let resumed = run(&router, &["resume", &one, "--wait", "-o", "json"]).await;
    let session: Session = serde_json::from_str(resumed.success()).expect("JSON");
    assert_eq!((session.hash.to_string(), session.state), (one, State::Running));
}

#[tokio::test]
async fn a_dash_reads_the_message_from_standard_input() {
    let router = start_router().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("message");
    std::fs::write(&file, "Write a game.\nIn Rust.\n").expect("a file");
    let mut command = program(router.address());
    command
        .args(["create", "--empty", "-m", "-", "-o", "json"])
        .stdin(std::fs::File::open(&file).expect("a file"));
    let session: Session = serde_json::from_str(output(command).await.success()).expect("JSON");
    assert_eq!((session.repo_url, session.description.as_deref()), (None, Some("Write a game.")));
}

#[tokio::test]
async fn open_prints_the_address_and_passes_it_to_the_browser() {
    let router = start_router().await;
    let hash = running_session(&router, "fix").await.to_string();
    let address = format!("http://{hash}.localhost:3000/L2Zha2UvcmVwbw/session/ses_fake1");
    let print = run(&router, &["open", &hash, "--print", "--browser", "no-such-program"]).await;
    assert_eq!(print.success(), address);

    let folder = tempfile::tempdir().expect("a folder");
    let (browser, opened) = (folder.path().join("browser"), folder.path().join("opened"));
    std::fs::write(&browser, format!("#!/bin/sh\nprintf '%s' \"$1\" > '{}'\n", opened.display()))
        .expect("a file");
    std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let browser = browser.to_str().expect("UTF-8");
    assert_eq!(run(&router, &["open", &hash, "--browser", browser]).await.success(), address);
    assert_eq!(std::fs::read_to_string(&opened).expect("the opened address"), address);

    let missing = run(&router, &["open", &hash, "--browser", "no-such-program"]).await;
    assert_eq!((missing.code, missing.out.trim_end()), (1, address.as_str()));
    assert!(missing.err.contains("no-such-program"), "{missing:?}");
}

#[tokio::test]
async fn logs_prints_the_last_lines_and_with_follow_the_added_ones() {
    let router = start_router().await;
    let hash = running_session(&router, "fix").await;
    let all = run(&router, &["logs", &hash.to_string()]).await;
    let last = run(&router, &["logs", &hash.to_string(), "-n", "1"]).await;
    assert_eq!(last.success().lines().count(), 1);
    assert!(all.success().ends_with(last.success()), "{all:?} {last:?}");

    let mut command = program(router.address());
    command.args(["logs", &hash.to_string(), "-n", "1", "-f"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    let mut lines = BufReader::new(child.stdout.take().expect("standard output")).lines();
    assert_eq!(soon(lines.next_line()).await.expect("UTF-8").as_deref(), Some(last.success()));
    // Another start adds lines; then the session is deleted, and its log with it.
    let alice = router.client(ALICE);
    soon(alice.stop(hash)).await.expect("a stop");
    soon(alice.resume(hash)).await.expect("a start");
    assert!(soon(lines.next_line()).await.expect("UTF-8").is_some());
    soon(alice.delete(hash)).await.expect("a deletion");
    assert_eq!(soon(child.wait()).await.expect("the program ends").code(), Some(3));
}

#[tokio::test]
async fn messages_prints_the_latest_and_with_follow_what_is_written() {
    let router = start_router().await;
    router.opencode.enable_events();
    let hash = running_session(&router, "fix").await.to_string();
    let conversation = router.opencode.conversations().last().expect("a conversation").0.clone();
    let mut command = program(router.address());
    command.args(["messages", &hash, "-f"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().expect("the program runs");
    let mut lines = BufReader::new(child.stdout.take().expect("standard output")).lines();
    router.opencode.answer(&conversation, 1, "It is done.\n", true);
    assert_eq!(soon(lines.next_line()).await.expect("UTF-8").as_deref(), Some("Agent:"));
    assert_eq!(soon(lines.next_line()).await.expect("UTF-8").as_deref(), Some("It is done."));
    assert_eq!(run(&router, &["messages", &hash]).await.success(), "Agent:\nIt is done.");
}

#[tokio::test]
async fn a_closed_pipe_is_no_error() {
    let router = start_router().await;
    running_session(&router, "fix").await;
    let mut command = program(router.address());
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    command.args(["list"]).stdout(writer);
    let result = output(command).await;
    assert_eq!((result.code, result.err.as_str()), (0, ""), "{result:?}");
}

#[tokio::test]
async fn completions_and_help_work_without_a_router() {
    for args in [
        &["completions", "bash"][..],
        &["completions", "zsh"],
        &["completions", "fish"],
        &["--help"],
        &["help", "create"],
    ] {
        let mut command = program("http://127.0.0.1:9");
        command.args(args);
        let result = output(command).await;
        assert!(result.success().contains("create"), "{args:?}");
    }
    let mut command = program("http://127.0.0.1:9");
    command.arg("--version");
    assert_eq!(output(command).await.out.trim(), concat!("opencode-routerctl ", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn help_of_the_kubectl_plugin_shows_kubectls_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("kubectl-opencode");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_opencode-routerctl"), &plugin).expect("a link");
    let mut command = tokio::process::Command::new(plugin);
    command.env_clear().args(["stop", "--help"]);
    let help = output(command).await;
    assert!(help.success().contains("Usage: kubectl opencode stop"), "{help:?}");
    assert!(!help.out.contains("opencode-routerctl"), "{help:?}");
}
