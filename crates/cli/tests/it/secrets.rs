//! secret: list, set, delete, clear.

use std::{
    fs::File,
    io::{Read, Write},
    process::Stdio,
};

use api::{testing::TestRouter, wire::SecretText};
use nix::pty::openpty;
use session_key::Identity;
use tokio::io::AsyncWriteExt as _;

use crate::{ALICE, Run, output, program, run, soon, start_router};

/// Runs `secret set` with this standard input.
async fn set(router: &TestRouter, name: &str, input: &[u8]) -> Run {
    let mut command = program(router.address());
    command.args(["secret", "set", name]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    child.stdin.take().expect("a pipe").write_all(input).await.expect("written");
    let output = soon(child.wait_with_output()).await.expect("it ends");
    Run {
        code: output.status.code().expect("an exit code"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

fn stored(router: &TestRouter, name: &str) -> Option<String> {
    let alice = Identity::parse(ALICE).expect("an address");
    router.backend.secrets(&alice).remove(name).map(|value| String::from_utf8(value).expect("text"))
}

#[tokio::test]
async fn a_value_comes_from_standard_input_and_is_never_printed() {
    let router = start_router().await;
    let set_token = set(&router, "NPM_TOKEN", b"s3cr3t\n").await;
    assert_eq!(set_token.success(), "");
    assert!(set_token.err.contains("next start"), "{set_token:?}");
    assert_eq!(stored(&router, "NPM_TOKEN").as_deref(), Some("s3cr3t"));
    let key = "-----BEGIN KEY-----\nabc\n-----END KEY-----\n";
    set(&router, "DEPLOY_KEY", key.as_bytes()).await.success();
    assert_eq!(stored(&router, "DEPLOY_KEY").as_deref(), Some(key));
    let list = run(&router, &["secret", "list"]).await;
    assert_eq!(list.success(), "DEPLOY_KEY\nNPM_TOKEN");
    let json = run(&router, &["secret", "ls", "-o", "json"]).await;
    let expected = "{\n  \"hasSecret\": true,\n  \"keys\": [\n    \"DEPLOY_KEY\",\n    \"NPM_TOKEN\"\n  ]\n}";
    assert_eq!(json.success(), expected);
}

#[tokio::test]
async fn a_terminal_is_asked_and_does_not_show_the_value() {
    let router = start_router().await;
    let terminal = openpty(None, None).expect("a terminal");
    let mut master = File::from(terminal.master);
    let mut command = program(router.address());
    command.args(["secret", "set", "NPM_TOKEN"]);
    command.stdin(terminal.slave);
    let running = tokio::spawn(output(command));
    let typed = tokio::task::spawn_blocking(move || {
        wait_hidden(&master);
        master.write_all(b"s3cr3t\n").map(|()| master)
    });
    let mut master = soon(typed).await.expect("it ends").expect("typed");
    let run = soon(running).await.expect("it ends");
    assert_eq!(run.success(), "");
    assert!(run.err.contains("Value of NPM_TOKEN: ") && !run.err.contains("s3cr3t"), "{run:?}");
    // What the terminal has shown; the program has closed its end, so the read ends.
    let mut shown = Vec::new();
    let _ = master.read_to_end(&mut shown);
    assert_eq!(String::from_utf8(shown).expect("text").trim(), "", "the terminal shows what is typed");
    assert_eq!(stored(&router, "NPM_TOKEN").as_deref(), Some("s3cr3t"));
}

/// Waits until the terminal no longer shows what is typed.
fn wait_hidden(terminal: &File) {
    use nix::sys::termios::{LocalFlags, tcgetattr};
    while tcgetattr(terminal).expect("settings").local_flags.contains(LocalFlags::ECHO) {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn secrets_are_deleted_by_name_or_all_after_a_question() {
    let router = start_router().await;
    let client = router.client(ALICE);
    for name in ["A", "B", "C"] {
        soon(client.set_secret(name, SecretText::new("x"))).await.expect("set");
    }
    run(&router, &["secret", "delete", "A"]).await.success();
    run(&router, &["secret", "rm", "A"]).await.failure(3, "You have no secret of this name.");
    run(&router, &["secret", "clear"]).await.failure(2, "--yes");
    let terminal = openpty(None, None).expect("a terminal");
    File::from(terminal.master.try_clone().expect("the other end")).write_all(b"n\n").expect("typed");
    let mut command = program(router.address());
    command.args(["secret", "clear"]).stdin(terminal.slave);
    output(command).await.failure(1, "Delete all of your secrets (B, C)?");
    assert_eq!(soon(client.secrets()).await.expect("names").keys, ["B", "C"]);
    run(&router, &["secret", "clear", "--yes"]).await.success();
    let empty = run(&router, &["secret", "list"]).await;
    assert_eq!(empty.success(), "");
    assert!(empty.err.contains("secret set"), "{empty:?}");
}

#[tokio::test]
async fn a_name_that_would_break_sessions_is_refused_in_the_routers_words() {
    let router = start_router().await;
    let refused = set(&router, "LD_PRELOAD", b"s3cr3t\n").await;
    refused.failure(4, "could break a session");
    assert!(!refused.err.contains("s3cr3t"), "{refused:?}");
    let binary = set(&router, "BINARY", &[0xff, 0xfe]).await;
    binary.failure(2, "not text in UTF-8");
    // An argument after the name is an error of the command line, not a value.
    run(&router, &["secret", "set", "A", "value"]).await.failure(2, "unexpected argument");
}
