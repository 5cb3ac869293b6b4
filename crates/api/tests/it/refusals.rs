//! Refused requests: the answer is always a sentence and a code as JSON.

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use std::time::Duration;

use api::{
    client::ClientError,
    testing::{TestRouter, USER},
    wire::{CreateSession, ErrorBody},
};
use pod_manager::{BackendError, ManagerSettings, memory::BackendCommand};
use reqwest::{Method, Response};
use session_key::SessionHash;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{ALICE, BOB, create, router, session_on, soon};

async fn send(router: &TestRouter, caller: &str, method: Method, path: &str, body: &str) -> Response {
    let request = reqwest::Client::new()
        .request(method, format!("{}{path}", router.address()))
        .header(USER, caller)
        .header("content-type", "application/json; charset=utf-8")
        .body(body.to_owned());
    soon(request.send()).await.expect("an answer")
}

/// Returns the status, code and sentence of a refusal.
async fn refused(answer: Response) -> (u16, String, String) {
    assert_eq!(answer.headers()["content-type"], "application/json");
    let status = answer.status().as_u16();
    let ErrorBody { error, code, .. } = soon(answer.json()).await.expect("an error body");
    assert!(error.ends_with('.') && error.starts_with(char::is_uppercase), "not a sentence: {error}");
    (status, code, error)
}

/// Returns the whole answer except its date.
async fn whole(answer: Response) -> (u16, Vec<(String, String)>, String) {
    let mut headers: Vec<_> = answer
        .headers()
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
        .collect();
    headers.sort();
    (answer.status().as_u16(), headers, soon(answer.text()).await.expect("a body"))
}

#[tokio::test]
async fn another_users_session_is_answered_like_one_that_does_not_exist() {
    let router = router().await;
    let alices = create(&router.client(ALICE), "fix").await;
    let unknown = SessionHash::from_bytes([7; 6]);
    for (method, route) in [
        (Method::GET, ""),
        (Method::GET, "/events"),
        (Method::GET, "/logs"),
        (Method::GET, "/logs?lines=5"),
        (Method::GET, "/work"),
        (Method::POST, "/resume"),
        (Method::POST, "/stop"),
        (Method::DELETE, ""),
    ] {
        let mut answers = Vec::new();
        for name in [alices.to_string(), unknown.to_string(), "nonsense".to_owned()] {
            let path = format!("/api/sessions/{name}{route}");
            answers.push(whole(send(&router, BOB, method.clone(), &path, "").await).await);
        }
        assert_eq!(answers[0].0, 404, "{method} {route}");
        assert_eq!(answers[0], answers[1], "{method} {route}");
        assert_eq!(answers[0], answers[2], "{method} {route}");
    }
    let session = soon(router.client(ALICE).get(alices)).await.expect("the session");
    assert_eq!(session.hash, alices);
    assert_eq!(
        router.backend.calls(BackendCommand::Stop, alices)
            + router.backend.calls(BackendCommand::Delete, alices),
        0
    );
}

#[tokio::test]
async fn a_user_sees_only_their_own_sessions() {
    let router = router().await;
    let (alice, bob) = (router.client(ALICE), router.client(BOB));
    let alices = create(&alice, "fix").await;
    let bobs = create(&bob, "fix").await;
    assert_ne!(alices, bobs, "the same repository and branch, two users");
    for (client, email, hash) in [(alice, ALICE, alices), (bob, BOB, bobs)] {
        let list = soon(client.list()).await.expect("a list");
        assert_eq!(list.email, email);
        assert_eq!(list.sessions.iter().map(|session| session.hash).collect::<Vec<_>>(), [hash]);
    }
}

#[tokio::test]
async fn an_unknown_path_is_a_json_404_and_the_site_keeps_its_paths() {
    let router = router().await;
    for path in ["/api", "/api/", "/api/nothing", "/api/sessions/a48da0606867/nothing", "/api/sessions/"] {
        let (status, code, _) = refused(send(&router, ALICE, Method::GET, path, "").await).await;
        assert_eq!((status, code.as_str()), (404, "no_such_route"), "{path}");
    }
    let site = send(&router, ALICE, Method::GET, "/apis", "").await;
    assert_eq!(soon(site.text()).await.expect("a body"), "the site");
}

#[tokio::test]
async fn an_unsupported_method_is_405_and_the_supported_ones_are_listed() {
    let router = router().await;
    for (method, path) in [
        (Method::PUT, "/api/sessions"),
        (Method::DELETE, "/api/config"),
        (Method::PATCH, "/api/sessions/stream"),
    ] {
        let answer = send(&router, ALICE, method, path, "").await;
        let allowed = answer.headers()["allow"].to_str().expect("text").to_owned();
        let (status, code, _) = refused(answer).await;
        assert_eq!((status, code.as_str()), (405, "method_not_allowed"), "{path}");
        assert!(allowed.contains("GET"), "{allowed}");
    }
}

#[tokio::test]
async fn an_invalid_body_is_refused_with_the_position_of_the_error() {
    let router = router().await;
    for (body, part) in [
        (r#"{"repoUrl": "#, "line 1 column 12"),
        (r#"{"repoUrl": 5}"#, "expected a string at line 1 column 13"),
        (r#"{"repo": "https://h.example/o/n"}"#, "unknown field `repo`"),
        ("\u{1}", "line 1 column 1"),
    ] {
        let (status, code, error) =
            refused(send(&router, ALICE, Method::POST, "/api/sessions", body).await).await;
        assert_eq!((status, code.as_str()), (400, "invalid_json"), "{body}");
        assert!(error.contains(part), "{error}");
    }
    assert!(soon(router.client(ALICE).list()).await.expect("a list").sessions.is_empty());
}

#[tokio::test]
async fn a_body_that_is_not_an_object_creates_nothing() {
    let router = router().await;
    for body in ["[]", r#"["https://h.example/o/n"]"#, " [null]", "null", "5", r#""text""#] {
        let (status, code, error) =
            refused(send(&router, ALICE, Method::POST, "/api/sessions", body).await).await;
        assert_eq!((status, code.as_str()), (400, "invalid_json"), "{body}");
        assert!(error.contains("expected a JSON object"), "{error}");
    }
    assert!(soon(router.client(ALICE).list()).await.expect("a list").sessions.is_empty());
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_answered_408_and_the_connection_closed() {
    let router = router().await;
    let address = router.address().trim_start_matches("http://");
    let mut connection = soon(TcpStream::connect(address)).await.expect("a connection");
    // From here on, the clock jumps to the next timer whenever all tasks wait.
    tokio::time::pause();
    let head = format!(
        "POST /api/sessions HTTP/1.1\r\nhost: localhost\r\n{USER}: {ALICE}\r\n\
         content-type: application/json\r\ncontent-length: 20\r\n\r\n{{"
    );
    connection.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    let end = timeout(Duration::from_secs(3600), connection.read_to_string(&mut answer)).await;
    assert!(end.is_ok(), "the connection stays open: {answer:?}");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.contains(r#""code":"body_timeout""#) && answer.contains("30 seconds"), "{answer}");
    assert!(soon(router.client(ALICE).list()).await.expect("a list").sessions.is_empty());
}

#[tokio::test]
async fn size_limits_are_named() {
    let router = router().await;
    let message = |length: usize| format!(r#"{{"initialMessage":"{}"}}"#, "x".repeat(length));
    for (body, expected, part) in [
        (message(64 * 1024 + 1), (400, "message_too_long"), "64 KiB"),
        (message(300 * 1024), (413, "body_too_large"), "256 KiB"),
    ] {
        let (status, code, error) =
            refused(send(&router, ALICE, Method::POST, "/api/sessions", &body).await).await;
        assert_eq!((status, code.as_str()), expected);
        assert!(error.contains(part), "{error}");
    }
    for lines in ["0", "10001", "many", "-1", ""] {
        let path = format!("/api/sessions/a48da0606867/logs?lines={lines}");
        let (status, code, _) = refused(send(&router, ALICE, Method::GET, &path, "").await).await;
        assert_eq!((status, code.as_str()), (400, "invalid_query"), "{lines:?}");
    }
}

#[tokio::test]
async fn invalid_names_are_refused_with_a_code_of_their_own() {
    let router = router().await;
    let alice = router.client(ALICE);
    let request = |repo: Option<&str>, branch: Option<&str>| CreateSession {
        repo_url: repo.map(Into::into),
        branch: branch.map(Into::into),
        ..CreateSession::default()
    };
    for (session, expected) in [
        (request(Some("https://me:secret@h.example/o/n"), None), "invalid_repository"),
        (request(Some("--upload-pack=touch x"), None), "invalid_repository"),
        (request(Some("ext::sh -c id"), None), "invalid_repository"),
        (request(Some("https://h.example/o/n"), Some("-x")), "invalid_branch"),
        (request(None, Some("fix")), "branch_without_repository"),
    ] {
        let refused = soon(alice.create(&session)).await.expect_err("a refusal");
        let ClientError::Refused { status, code, message, .. } = refused else { panic!("{refused:?}") };
        assert_eq!((status, code.as_str()), (400, expected));
        assert!(!message.contains("secret"), "{message}");
    }
}

#[tokio::test]
async fn the_request_id_of_the_layers_in_front_is_returned() {
    let router = router().await;
    let request = reqwest::Client::new()
        .get(format!("{}/api/sessions/a48da0606867", router.address()))
        .header(USER, ALICE)
        .header("x-request-id", "req-7");
    let answer = soon(request.send()).await.expect("an answer");
    let body: ErrorBody = soon(answer.json()).await.expect("an error body");
    assert_eq!(body.request_id.as_deref(), Some("req-7"));
}

#[tokio::test]
async fn an_error_of_the_backend_is_reported_without_its_details() {
    let router = router().await;
    let alice = router.client(ALICE);
    router.backend.refuse(|_| Some(BackendError::Unavailable("10.0.0.7 is down".into())));
    let answer = send(&router, ALICE, Method::POST, "/api/sessions", "{}").await;
    assert!(answer.headers().contains_key("retry-after"));
    let (status, code, error) = refused(answer).await;
    assert_eq!((status, code.as_str()), (503, "unavailable"));
    assert!(!error.contains("10.0.0.7"), "{error}");
    router.backend.refuse(|_| Some(BackendError::DiskFull("/secret/place".into())));
    let (status, code, error) =
        refused(send(&router, ALICE, Method::POST, "/api/sessions", "{}").await).await;
    assert_eq!((status, code.as_str()), (507, "disk_full"));
    assert!(!error.contains("/secret"), "{error}");
    router.backend.refuse_nothing();
    soon(alice.create(&session_on("fix"))).await.expect("a session");
}

#[tokio::test]
async fn a_limit_on_sessions_is_a_429_that_names_it() {
    let settings = ManagerSettings { max_sessions: Some(1), ..ManagerSettings::default() };
    let router = soon(TestRouter::with(settings)).await.expect("a router");
    let alice = router.client(ALICE);
    let first = create(&alice, "one").await;
    let refused = soon(alice.create(&session_on("two"))).await.expect_err("a refusal");
    let ClientError::Refused { status, code, message, .. } = refused else { panic!("{refused:?}") };
    assert_eq!((status, code.as_str()), (429, "limit_reached"));
    assert!(message.contains("your limit of sessions (1)."), "{message}");
    assert_eq!(create(&alice, "one").await, first, "an existing session is not a new one");
    create(&router.client(BOB), "two").await;
}

#[tokio::test]
async fn a_hash_of_another_session_is_answered_409() {
    let router = router().await;
    router.backend.refuse(|_| Some(BackendError::Conflict));
    let answer = send(&router, ALICE, Method::POST, "/api/sessions", "{}").await;
    let (status, code, error) = refused(answer).await;
    assert_eq!((status, code.as_str()), (409, "conflict"));
    assert!(error.ends_with("Choose another branch."), "{error}");
}

#[tokio::test]
async fn a_limit_on_starts_is_a_429_that_says_when_to_try_again() {
    let settings = ManagerSettings { max_starts_per_minute: Some(1), ..ManagerSettings::default() };
    let router = soon(TestRouter::with(settings)).await.expect("a router");
    create(&router.client(ALICE), "one").await;
    let answer = send(&router, ALICE, Method::POST, "/api/sessions", "{}").await;
    let seconds: u64 = answer.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    let (status, code, error) = refused(answer).await;
    assert_eq!((status, code.as_str()), (429, "limit_reached"));
    assert!(error.contains(&format!("Try again in {seconds} seconds.")), "{error}");
    create(&router.client(BOB), "two").await;
}
