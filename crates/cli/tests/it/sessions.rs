//! What goes well.

use std::{os::unix::fs::PermissionsExt, process::Stdio};

use api::wire::{Session, SessionList, State};
use pod_manager::Stage;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{ALICE, REPO, output, program, router, run, running, soon};

#[tokio::test]
async fn create_prints_the_key_and_nothing_else_on_standard_output() {
    let router = router().await;
    let made = run(&router, &["create", REPO, "fix"]).await;
    assert_eq!(made.well().len(), 12, "{made:?}");
    assert!(made.err.contains("was made"), "{made:?}");
    let again = run(&router, &["create", REPO, "fix", "--quiet"]).await;
    assert_eq!((again.well(), again.err.as_str()), (made.well(), ""));
}

#[tokio::test]
async fn waiting_tells_the_stages_and_ends_when_it_runs() {
    let router = router().await;
    router.backend.hold(Stage::Cloning);
    let mut command = program(router.address());
    command.args(["create", REPO, "fix", "--wait"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut told = BufReader::new(child.stderr.take().expect("standard error")).lines();
    let mut seen = Vec::new();
    while !seen.iter().any(|line: &String| line.starts_with("cloning: ")) {
        seen.push(soon(told.next_line()).await.expect("UTF-8").expect("it goes on telling"));
    }
    router.backend.release(Stage::Cloning);
    while let Some(line) = soon(told.next_line()).await.expect("UTF-8") {
        seen.push(line);
    }
    assert!(seen.last().expect("lines").contains("runs: http://"), "{seen:?}");
    assert!(soon(child.wait()).await.expect("an end").success());
}

#[tokio::test]
async fn a_list_is_for_people_or_for_programs() {
    let router = router().await;
    let hash = running(&router, "fix").await;
    let table = run(&router, &["list"]).await;
    let lines: Vec<_> = table.well().lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("KEY") && lines[1].starts_with(&hash.to_string()), "{table:?}");
    assert!(!table.out.contains('\u{1b}'), "no colour without a terminal");
    let wide = run(&router, &["list", "-o", "wide"]).await;
    assert!(wide.well().contains(&format!("http://{hash}.localhost:3000/")), "{wide:?}");
    let json = run(&router, &["-o", "json", "ls"]).await;
    let list: SessionList = serde_json::from_str(json.well()).expect("JSON");
    assert_eq!((list.email.as_str(), list.sessions[0].hash), (ALICE, hash));
    let yaml = run(&router, &["list", "-o", "yaml"]).await;
    assert_eq!(serde_yaml_ng::from_str::<SessionList>(yaml.well()).expect("YAML"), list);
}

#[tokio::test]
async fn no_session_is_an_empty_answer_with_advice() {
    let router = router().await;
    let list = run(&router, &["list"]).await;
    assert_eq!(list.well(), "");
    assert!(list.err.contains("create <REPO>"), "{list:?}");
    let json = run(&router, &["list", "-o", "json"]).await;
    assert_eq!(serde_json::from_str::<SessionList>(json.well()).expect("JSON").sessions, []);
}

#[tokio::test]
async fn a_session_is_named_by_the_beginning_of_its_key() {
    let router = router().await;
    let hash = running(&router, "fix").await.to_string();
    let show = run(&router, &["show", &hash[..4].to_uppercase(), "-o", "json"]).await;
    let session: Session = serde_json::from_str(show.well()).expect("JSON");
    assert_eq!((session.hash.to_string(), session.state), (hash.clone(), State::Running));
    let human = run(&router, &["show", &hash]).await;
    for part in ["State:      running", REPO, "fix", "Owner:      alice@example.com"] {
        assert!(human.well().contains(part), "{part} in {human:?}");
    }
}

#[tokio::test]
async fn stop_and_resume_take_several_and_print_their_keys() {
    let router = router().await;
    let (one, two) = (running(&router, "one").await.to_string(), running(&router, "two").await.to_string());
    let stopped = run(&router, &["stop", &one, &two]).await;
    assert_eq!(stopped.well(), format!("{one}\n{two}"));
    let resumed = run(&router, &["resume", &one, "--wait", "-o", "json"]).await;
    let session: Session = serde_json::from_str(resumed.well()).expect("JSON");
    assert_eq!((session.hash.to_string(), session.state), (one, State::Running));
}

#[tokio::test]
async fn a_message_is_read_from_standard_input_where_it_is_a_dash() {
    let router = router().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("message");
    std::fs::write(&file, "Write a game.\nIn Rust.\n").expect("a file");
    let mut command = program(router.address());
    command
        .args(["create", "--empty", "-m", "-", "-o", "json"])
        .stdin(std::fs::File::open(&file).expect("a file"));
    let session: Session = serde_json::from_str(output(command).await.well()).expect("JSON");
    assert_eq!((session.repo_url, session.description.as_deref()), (None, Some("Write a game.")));
}

#[tokio::test]
async fn open_prints_the_address_and_hands_it_to_the_browser() {
    let router = router().await;
    let hash = running(&router, "fix").await.to_string();
    let address = format!("http://{hash}.localhost:3000/L3dvcms/session/ses_1");
    let print = run(&router, &["open", &hash, "--print", "--browser", "no-such-program"]).await;
    assert_eq!(print.well(), address);

    let folder = tempfile::tempdir().expect("a folder");
    let (browser, opened) = (folder.path().join("browser"), folder.path().join("opened"));
    std::fs::write(&browser, format!("#!/bin/sh\nprintf '%s' \"$1\" > '{}'\n", opened.display()))
        .expect("a file");
    std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let browser = browser.to_str().expect("UTF-8");
    assert_eq!(run(&router, &["open", &hash, "--browser", browser]).await.well(), address);
    assert_eq!(std::fs::read_to_string(&opened).expect("what was opened"), address);

    let none = run(&router, &["open", &hash, "--browser", "no-such-program"]).await;
    assert_eq!((none.code, none.out.trim_end()), (1, address.as_str()));
    assert!(none.err.contains("no-such-program"), "{none:?}");
}

#[tokio::test]
async fn logs_prints_the_end_and_goes_on_where_it_is_followed() {
    let router = router().await;
    let hash = running(&router, "fix").await;
    let all = run(&router, &["logs", &hash.to_string()]).await;
    let last = run(&router, &["logs", &hash.to_string(), "-n", "1"]).await;
    assert_eq!(last.well().lines().count(), 1);
    assert!(all.well().ends_with(last.well()), "{all:?} {last:?}");

    let mut command = program(router.address());
    command.args(["logs", &hash.to_string(), "-n", "1", "-f"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("standard output")).lines();
    assert_eq!(soon(lines.next_line()).await.expect("UTF-8").as_deref(), Some(last.well()));
    // Another start writes more; then the session goes, and with it the log.
    let alice = router.client(ALICE);
    soon(alice.stop(hash)).await.expect("it stops");
    soon(alice.resume(hash)).await.expect("it starts");
    assert!(soon(lines.next_line()).await.expect("UTF-8").is_some());
    soon(alice.delete(hash)).await.expect("it goes");
    assert_eq!(soon(child.wait()).await.expect("an end").code(), Some(3));
}

#[tokio::test]
async fn a_reader_that_has_read_enough_is_no_error() {
    let router = router().await;
    running(&router, "fix").await;
    let mut command = program(router.address());
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    command.args(["list"]).stdout(writer);
    let ran = output(command).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
}

#[tokio::test]
async fn completions_and_help_need_no_router() {
    for args in [
        &["completions", "bash"][..],
        &["completions", "zsh"],
        &["completions", "fish"],
        &["--help"],
        &["help", "create"],
    ] {
        let mut command = program("http://127.0.0.1:9");
        command.args(args);
        let ran = output(command).await;
        assert!(ran.well().contains("create"), "{args:?}");
    }
    let mut command = program("http://127.0.0.1:9");
    command.arg("--version");
    assert_eq!(output(command).await.out.trim(), concat!("opencode-routerctl ", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn under_the_name_of_a_kubectl_plugin_it_explains_itself_as_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = folder.path().join("kubectl-opencode");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_opencode-routerctl"), &plugin).expect("a link");
    let mut command = tokio::process::Command::new(plugin);
    command.env_clear().args(["stop", "--help"]);
    let help = output(command).await;
    assert!(help.well().contains("Usage: kubectl opencode stop"), "{help:?}");
    assert!(!help.out.contains("opencode-routerctl"), "{help:?}");
}
