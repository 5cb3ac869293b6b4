//! A benchmark, not a test: what following 1,000 running sessions costs a router's memory.
//!
//! ```sh
//! for how in probed followed; do
//!     cargo test -p pod-manager --all-features --test it follower_figures::memory_$how -- --ignored --nocapture
//! done
//! ```
//!
//! Each is a process of its own, since memory that is freed is not returned at once. The fake opencode is
//! another process, so only the router's side is measured.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{process::Stdio, time::Duration};

use pod_manager::{Credentials, ManagerSettings, Password, memory::FakeOpencode};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::sleep,
};

use crate::test_manager::{TestManager, alice, repository};

const SESSIONS: usize = 1000;
const MESSAGES: usize = 30;
const EVENTS: &str = "follower_figures::serve_with_events";
const NO_EVENTS: &str = "follower_figures::serve_without_events";

#[tokio::test]
#[ignore = "a benchmark"]
async fn memory_followed() {
    assert_eq!(measure(EVENTS).await, SESSIONS as u64);
}

#[tokio::test]
#[ignore = "a benchmark"]
async fn memory_probed() {
    assert_eq!(measure(NO_EVENTS).await, 0);
}

/// Prints by how much the memory grows with each session, and returns how many of them are followed.
async fn measure(server: &str) -> u64 {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .args([server, "--exact", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the fake");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let address = loop {
        let line = lines.next_line().await.expect("UTF-8").expect("an address");
        if let Some((_, address)) = line.split_once("listening on ") {
            break address.parse().expect("an address");
        }
    };
    let settings =
        ManagerSettings { sweep_interval: Duration::from_millis(500), ..ManagerSettings::default() };
    let test = TestManager::with(settings).await;
    test.backend.set_endpoint(address, Some(Password::new("geheim")));
    let before = resident_bytes();
    for number in 0..SESSIONS {
        let session = repository(&format!("widgets-{number}"), None);
        test.manager.create(&alice(), session, Credentials::NONE).await.expect("a session");
    }
    let all_run = || test.manager.list(&alice()).iter().filter(|view| view.landing_path.is_some()).count();
    while all_run() < SESSIONS || (server == EVENTS && !all_have_messages(&test)) {
        sleep(Duration::from_millis(200)).await;
    }
    sleep(Duration::from_secs(5)).await;
    let each = resident_bytes().saturating_sub(before) / SESSIONS as u64;
    println!("{SESSIONS} sessions: {each} bytes for each");
    test.manager.following().connected
}

fn all_have_messages(test: &TestManager) -> bool {
    test.manager.list(&alice()).iter().all(|view| {
        let messages = test.manager.messages(&alice(), view.status.session.hash);
        let update = messages.and_then(|mut messages| messages.update());
        matches!(update, Some(pod_manager::ThreadUpdate::Snapshot { messages, .. }) if messages.len() == MESSAGES)
    })
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    pages * 4096
}

#[tokio::test]
#[ignore = "a server for the benchmark"]
async fn serve_with_events() {
    serve(true).await;
}

#[tokio::test]
#[ignore = "a server for the benchmark"]
async fn serve_without_events() {
    serve(false).await;
}

async fn serve(events: bool) {
    let opencode = FakeOpencode::start(Some(Password::new("geheim"))).await;
    if events {
        opencode.enable_events();
    }
    let conversation = opencode.create_conversation("A title");
    for number in 0..MESSAGES {
        opencode.answer(&conversation, number, &"text ".repeat(60), false);
    }
    println!("listening on {}", opencode.address());
    std::future::pending::<()>().await;
}
