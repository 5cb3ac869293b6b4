//! What does not go well, and the exit code of each.

use api::testing::USER;
use pod_manager::{BackendError, Failure, FailureCode};
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{ALICE, REPO, Ran, output, program, router, run, running, soon};

#[tokio::test]
async fn a_command_line_that_is_not_understood_is_2() {
    let router = router().await;
    for args in [
        &["list", "--nonsense"][..],
        &["show"],
        &["create"],
        &["create", "--empty", REPO],
        &["logs", "a", "-n", "0"],
        &["list", "-o", "xml"],
        &["show", "not-hex"],
    ] {
        let ran = run(&router, args).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?} {ran:?}");
    }
    for (name, value) in [("--server", "nonsense"), ("--header", "no colon")] {
        run(&router, &["list", name, value]).await.badly(2, "error: ");
    }
}

#[tokio::test]
async fn what_is_not_there_is_3() {
    let router = router().await;
    run(&router, &["show", "a48da0606867"]).await.badly(3, "There is no such session.");
    run(&router, &["stop", "a48"]).await.badly(3, "no session's key starts with \"a48\"");
}

#[tokio::test]
async fn anothers_session_is_as_one_that_is_not_there() {
    let router = router().await;
    let hers = running(&router, "fix").await.to_string();
    let as_bob = |args: Vec<String>| {
        let mut command = program(router.address());
        command.env("OPENCODE_ROUTER_HEADERS", format!("{USER}: bob@example.com")).args(args);
        output(command)
    };
    let text = |ran: &Ran, hash: &str| (ran.code, ran.err.replace(hash, "KEY"));
    for command in ["show", "stop", "logs", "resume"] {
        let of_hers = as_bob(vec![command.into(), hers.clone()]).await;
        let of_nobody = as_bob(vec![command.into(), "070707070707".into()]).await;
        assert_eq!(text(&of_hers, &hers), text(&of_nobody, "070707070707"), "{command}");
        of_hers.badly(3, "There is no such session.");
    }
}

#[tokio::test]
async fn an_ambiguous_name_is_2_and_names_those_it_may_be() {
    let router = router().await;
    let mut made = Vec::new();
    // Seventeen keys: two of them begin with the same digit.
    let first = loop {
        let next = running(&router, &format!("branch-{}", made.len())).await.to_string();
        match made.iter().find(|one: &&String| one[..1] == next[..1]) {
            Some(same) => break (same.clone(), next),
            None => made.push(next),
        }
    };
    let ran = run(&router, &["stop", &first.0[..1]]).await;
    ran.badly(2, &first.0);
    assert!(ran.err.contains(&first.1), "{ran:?}");
}

#[tokio::test]
async fn what_the_router_does_not_take_is_4_in_its_own_words() {
    let router = router().await;
    let refused = run(&router, &["create", "https://me:secret@h.example/o/n"]).await;
    refused.badly(4, "The repository address holds a user name or password");
    run(&router, &["create", REPO, "a..b"]).await.badly(4, "The branch name holds '..'");
}

#[tokio::test]
async fn nobody_signed_in_is_4() {
    let router = router().await;
    let mut command = program(router.address());
    command.env_remove("OPENCODE_ROUTER_HEADERS").arg("list");
    output(command).await.badly(4, "You are not signed in.");
}

/// A server that answers one request with this.
async fn answers_once(answer: &'static str) -> String {
    let listener = soon(TcpListener::bind("127.0.0.1:0")).await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a request");
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        stream.write_all(answer.as_bytes()).await.expect("it is read");
    });
    address
}

#[tokio::test]
async fn a_sign_in_page_in_front_is_4_with_a_hint() {
    let address = answers_once("HTTP/1.1 302 Found\r\nlocation: /sign-in\r\ncontent-length: 0\r\n\r\n").await;
    let mut command = program(&address);
    command.arg("list");
    output(command).await.badly(4, "--header");
}

#[tokio::test]
async fn what_is_no_router_is_1() {
    let address = answers_once("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let mut command = program(&address);
    command.arg("list");
    output(command).await.badly(1, "is not a router");
}

#[tokio::test]
async fn nobody_there_is_5_with_a_hint_also_where_a_proxy_is_set() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let mut command = program(&address);
    command.arg("list").env("http_proxy", "http://127.0.0.1:1").env("HTTP_PROXY", "http://127.0.0.1:1");
    output(command).await.badly(5, "Is the router running? Start it with `make run`");
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_not_asked_for_this_machine() {
    let router = router().await;
    let mut command = program(router.address());
    command.arg("list").env("http_proxy", "http://127.0.0.1:1").env("ALL_PROXY", "http://127.0.0.1:1");
    output(command).await.well();
}

#[tokio::test]
async fn a_router_that_fails_is_1() {
    let router = router().await;
    router.backend.refuse(|_| Some(BackendError::Unavailable("away".into())));
    run(&router, &["create", REPO, "fix"]).await.badly(1, "Try again in a moment.");
}

#[tokio::test]
async fn a_session_that_can_not_start_is_1_with_reason_advice_and_log() {
    let router = router().await;
    let who = Identity::parse(ALICE).expect("an address");
    let repo = RepoUrl::parse(REPO, RepoPolicy::default()).expect("a repository");
    let hash = SessionHash::of(&who, &repo, &GitRef::parse("fix").expect("a branch"));
    let failure = Failure {
        code: FailureCode::RepositoryNotFound,
        message: "There is no such repository.".into(),
        advice: "Look at its address.".into(),
        log_tail: Some("fatal: \u{1b}[2Jnot found".into()),
    };
    router.backend.fail_starts(hash, Some(failure));
    let ran = run(&router, &["create", REPO, "fix", "--wait"]).await;
    ran.badly(1, "error: There is no such repository.");
    assert!(ran.err.contains("Look at its address.") && ran.err.contains("not found"), "{ran:?}");
    assert!(!ran.err.contains('\u{1b}'), "{ran:?}");
    let open = run(&router, &["open", &hash.to_string()]).await;
    open.badly(1, "it failed");
}
