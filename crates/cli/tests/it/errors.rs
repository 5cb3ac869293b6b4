//! Errors and their exit codes.

use api::testing::USER;
use pod_manager::{BackendError, Failure, FailureCode};
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{ALICE, REPO, Run, output, program, run, running_session, soon, start_router};

#[tokio::test]
async fn an_invalid_command_line_exits_with_2() {
    let router = start_router().await;
    for args in [
        &["list", "--nonsense"][..],
        &["show"],
        &["create"],
        &["create", "--empty", REPO],
        &["logs", "a", "-n", "0"],
        &["list", "-o", "xml"],
        &["show", "not-hex"],
    ] {
        let result = run(&router, args).await;
        assert_eq!((result.code, result.out.as_str()), (2, ""), "{args:?} {result:?}");
    }
    for (name, value) in [("--server", "nonsense"), ("--header", "no colon")] {
        run(&router, &["list", name, value]).await.failure(2, "error: ");
    }
}

#[tokio::test]
async fn a_missing_session_exits_with_3() {
    let router = start_router().await;
    run(&router, &["show", "a48da0606867"]).await.failure(3, "Session not found.");
    run(&router, &["stop", "a48"]).await.failure(3, "no session's key starts with \"a48\"");
}

#[tokio::test]
async fn another_users_session_looks_like_a_missing_one() {
    let router = start_router().await;
    let alices = running_session(&router, "fix").await.to_string();
    let as_bob = |args: Vec<String>| {
        let mut command = program(router.address());
        command.env("OPENCODE_ROUTER_HEADERS", format!("{USER}: bob@example.com")).args(args);
        output(command)
    };
    let text = |result: &Run, hash: &str| (result.code, result.err.replace(hash, "KEY"));
    for command in ["show", "stop", "logs", "messages", "resume"] {
        let of_alice = as_bob(vec![command.into(), alices.clone()]).await;
        let of_nobody = as_bob(vec![command.into(), "070707070707".into()]).await;
        assert_eq!(text(&of_alice, &alices), text(&of_nobody, "070707070707"), "{command}");
        of_alice.failure(3, "Session not found.");
    }
}

#[tokio::test]
async fn an_ambiguous_prefix_exits_with_2_and_lists_the_matches() {
    let router = start_router().await;
    let mut hashes: Vec<String> = Vec::new();
    // Of at most seventeen keys, two start with the same digit.
    let (one, other) = loop {
        let next = running_session(&router, &format!("branch-{}", hashes.len())).await.to_string();
        match hashes.iter().find(|hash| hash[..1] == next[..1]) {
            Some(same) => break (same.clone(), next),
            None => hashes.push(next),
        }
    };
    let result = run(&router, &["stop", &one[..1]]).await;
    result.failure(2, &one);
    assert!(result.err.contains(&other), "{result:?}");
}

#[tokio::test]
async fn a_refused_request_exits_with_4_and_the_routers_message() {
    let router = start_router().await;
    let refused = run(&router, &["create", "https://me:secret@h.example/o/n"]).await;
    refused.failure(4, "The repository address contains a user name or password");
    run(&router, &["create", REPO, "a..b"]).await.failure(4, "The branch name contains '..'");
}

#[tokio::test]
async fn a_missing_sign_in_exits_with_4() {
    let router = start_router().await;
    let mut command = program(router.address());
    command.env_remove("OPENCODE_ROUTER_HEADERS").arg("list");
    output(command).await.failure(4, "You are not signed in.");
}

/// Starts a server that answers one request with this, and returns its address.
async fn answers_once(answer: &'static str) -> String {
    let listener = soon(TcpListener::bind("127.0.0.1:0")).await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a request");
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        stream.write_all(answer.as_bytes()).await.expect("the client reads");
    });
    address
}

#[tokio::test]
async fn a_sign_in_page_exits_with_4_and_a_hint() {
    let address = answers_once("HTTP/1.1 302 Found\r\nlocation: /sign-in\r\ncontent-length: 0\r\n\r\n").await;
    let mut command = program(&address);
    command.arg("list");
    output(command).await.failure(4, "--header");
}

#[tokio::test]
async fn a_server_that_is_not_a_router_exits_with_1() {
    let address = answers_once("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let mut command = program(&address);
    command.arg("list");
    output(command).await.failure(1, "is not a router");
}

#[tokio::test]
async fn an_unreachable_router_exits_with_5_and_a_hint_even_if_a_proxy_is_set() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let mut command = program(&address);
    command.arg("list").env("http_proxy", "http://127.0.0.1:1").env("HTTP_PROXY", "http://127.0.0.1:1");
    output(command).await.failure(5, "Is the router running? Start it with `make run`");
}

#[tokio::test]
async fn the_environments_proxy_is_not_used_for_localhost() {
    let router = start_router().await;
    let mut command = program(router.address());
    command.arg("list").env("http_proxy", "http://127.0.0.1:1").env("ALL_PROXY", "http://127.0.0.1:1");
    output(command).await.success();
}

#[tokio::test]
async fn an_error_of_the_router_exits_with_1() {
    let router = start_router().await;
    router.backend.refuse(|_| Some(BackendError::Unavailable("away".into())));
    run(&router, &["create", REPO, "fix"]).await.failure(1, "Try again in a moment.");
}

#[tokio::test]
async fn a_failed_start_exits_with_1_and_shows_reason_advice_and_log() {
    let router = start_router().await;
    let owner = Identity::parse(ALICE).expect("an address");
    let repo = RepoUrl::parse(REPO, RepoPolicy::default()).expect("a repository");
    let hash = SessionHash::of(&owner, &repo, &GitRef::parse("fix").expect("a branch"));
    let failure = Failure {
        code: FailureCode::RepositoryNotFound,
        message: "Repository not found.".into(),
        advice: "Check the address.".into(),
        log_tail: Some("fatal: \u{1b}[2Jnot found".into()),
    };
    router.backend.fail_starts(hash, Some(failure));
    let result = run(&router, &["create", REPO, "fix", "--wait"]).await;
    result.failure(1, "error: Repository not found.");
    assert!(result.err.contains("Check the address.") && result.err.contains("not found"), "{result:?}");
    assert!(!result.err.contains('\u{1b}'), "{result:?}");
    let open = run(&router, &["open", &hash.to_string()]).await;
    open.failure(1, "it failed");
}
