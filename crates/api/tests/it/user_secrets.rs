//! The caller's secrets.

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use api::{
    client::ClientError,
    testing::{TestRouter, USER},
    wire::{ErrorBody, SecretText},
};
use pod_manager::{BackendError, memory::BackendCommand};
use reqwest::Method;
use serde_json::{Value, json};
use session_key::Identity;

use crate::{ALICE, BOB, router, soon};

const SECRET: &str = "/api/user/secret";

/// Sends a request as Alice, and returns the status and the JSON of the answer.
async fn send(router: &TestRouter, method: Method, path: &str, body: &str) -> (u16, Value) {
    let request = reqwest::Client::new().request(method, format!("{}{path}", router.address()));
    let request = request.header(USER, ALICE).header("content-type", "application/json");
    let answer = soon(request.body(body.to_owned()).send()).await.expect("an answer");
    (answer.status().as_u16(), soon(answer.json()).await.expect("JSON"))
}

/// Returns the status, code and sentence of a refusal.
async fn refused(router: &TestRouter, method: Method, path: &str, body: &str) -> (u16, String, String) {
    let (status, body) = send(router, method, path, body).await;
    let ErrorBody { error, code, .. } = serde_json::from_value(body).expect("an error");
    assert!(error.ends_with('.'), "not a sentence: {error}");
    (status, code, error)
}

/// Returns a secret of Alice as her sessions get it.
fn stored(router: &TestRouter, name: &str) -> Option<String> {
    let alice = Identity::parse(ALICE).expect("an address");
    router.backend.secrets(&alice).remove(name).map(|value| String::from_utf8(value).expect("text"))
}

#[tokio::test]
async fn requests_of_the_typescript_router_keep_working() {
    let router = router().await;
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    assert_eq!(
        send(&router, get.clone(), SECRET, "").await,
        (200, json!({ "hasSecret": false, "keys": [] }))
    );
    let body = json!({ "secrets": { " B ": "2", "A": "1" } }).to_string();
    let answer = json!({ "success": true, "keys": ["A", "B"] });
    assert_eq!(send(&router, post.clone(), SECRET, &body).await, (200, answer));
    let body = json!({ "secrets": { "C": "3" } }).to_string();
    let answer = json!({ "success": true, "keys": ["C"] });
    assert_eq!(send(&router, post, SECRET, &body).await, (200, answer), "it replaces the whole set");
    let names = json!({ "hasSecret": true, "keys": ["C"] });
    assert_eq!(send(&router, get, SECRET, "").await, (200, names), "names, and never a value");
    for _ in 0..2 {
        let answer = send(&router, delete.clone(), SECRET, "").await;
        assert_eq!(answer, (200, json!({ "success": true })), "also if there are none");
    }
}

#[tokio::test]
async fn one_secret_is_set_and_deleted_without_the_others() {
    let router = router().await;
    let (alice, bob) = (router.client(ALICE), router.client(BOB));
    for name in ["NPM_TOKEN", "AWS_SECRET_ACCESS_KEY"] {
        soon(alice.set_secret(name, SecretText::new("one"))).await.expect("set");
    }
    let some = [("NPM_TOKEN", "two"), ("X", "")].map(|(name, value)| (name.into(), SecretText::new(value)));
    let names = soon(alice.set_secrets(some.into())).await.expect("set");
    assert_eq!(names.keys, ["AWS_SECRET_ACCESS_KEY", "NPM_TOKEN", "X"]);
    assert_eq!(stored(&router, "NPM_TOKEN").as_deref(), Some("two"));
    assert_eq!(stored(&router, "AWS_SECRET_ACCESS_KEY").as_deref(), Some("one"));
    assert!(!soon(bob.secrets()).await.expect("names").has_secret, "another user's");
    let error = soon(bob.delete_secret("NPM_TOKEN")).await.expect_err("another user's");
    assert!(matches!(error, ClientError::Refused { status: 404, .. }), "{error:?}");
    let names = soon(alice.delete_secret("NPM_TOKEN")).await.expect("deleted");
    assert_eq!(names.keys, ["AWS_SECRET_ACCESS_KEY", "X"]);
    let error = soon(alice.delete_secret("NPM_TOKEN")).await.expect_err("deleted already");
    assert!(matches!(error, ClientError::Refused { status: 404, .. }), "{error:?}");
    soon(alice.delete_secrets()).await.expect("deleted");
    assert_eq!(soon(alice.secrets()).await.expect("names").keys, [""; 0]);
}

#[tokio::test]
async fn names_that_are_no_path_never_reach_another_route() {
    let router = router().await;
    let alice = router.client(ALICE);
    soon(alice.set_secret("KEPT", SecretText::new("x"))).await.expect("set");
    for name in ["", "a/b", "..", ".", "../secret", "a?b", "a#b", "%2e%2e", "🦀"] {
        let error = soon(alice.delete_secret(name)).await.expect_err(name);
        assert!(matches!(error, ClientError::Refused { status: 404 | 405, .. }), "{name}: {error:?}");
        let error = soon(alice.set_secret(name, SecretText::new("x"))).await.expect_err(name);
        assert!(matches!(error, ClientError::Refused { status: 400 | 404 | 405, .. }), "{name}: {error:?}");
    }
    assert_eq!(soon(alice.secrets()).await.expect("names").keys, ["KEPT"]);
}

#[tokio::test]
async fn an_invalid_request_changes_nothing_and_its_error_repeats_no_value() {
    let router = router().await;
    soon(router.client(ALICE).set_secret("KEPT", SecretText::new("x"))).await.expect("set");
    let long = "s3cr3t".repeat(6_000);
    for (secrets, code) in [
        (json!({ "secrets": {} }), "invalid_secrets"),
        (json!({}), "invalid_secrets"),
        (json!({ "secrets": { "A B": "s3cr3t" } }), "invalid_secret_name"),
        (json!({ "secrets": { "": "s3cr3t" } }), "invalid_secret_name"),
        (json!({ "secrets": { "FINE": "x", "LD_PRELOAD": "s3cr3t" } }), "secret_name_denied"),
        (json!({ "secrets": { "A": 31337 } }), "invalid_json"),
        (json!({ "secrets": { "A": ["s3cr3t"] } }), "invalid_json"),
        (json!({ "secrets": { "A": "s3cr3t\0" } }), "invalid_secret_value"),
        (json!({ "secrets": { "A": long } }), "invalid_secret_value"),
    ] {
        for method in [Method::POST, Method::PATCH] {
            let refusal = refused(&router, method.clone(), SECRET, &secrets.to_string()).await;
            assert_eq!((refusal.0, refusal.1.as_str()), (400, code), "{method}: {}", refusal.2);
            assert!(!refusal.2.contains("s3cr3t") && !refusal.2.contains("31337"), "{}", refusal.2);
        }
    }
    for (name, body, code) in [
        ("A", "{}", "invalid_secret_value"),
        ("A", r#"{"value":31337}"#, "invalid_json"),
        ("PATH", r#"{"value":"s3cr3t"}"#, "secret_name_denied"),
        ("1A", r#"{"value":"s3cr3t"}"#, "invalid_secret_name"),
    ] {
        let refusal = refused(&router, Method::PUT, &format!("{SECRET}/{name}"), body).await;
        assert_eq!((refusal.0, refusal.1.as_str()), (400, code), "{name}: {}", refusal.2);
        assert!(!refusal.2.contains("s3cr3t") && !refusal.2.contains("31337"), "{}", refusal.2);
    }
    assert_eq!(soon(router.client(ALICE).secrets()).await.expect("names").keys, ["KEPT"]);
}

#[tokio::test]
async fn limits_are_named_and_the_body_must_be_json() {
    let router = router().await;
    let all: serde_json::Map<_, _> = (0..101).map(|number| (format!("S_{number}"), json!("x"))).collect();
    let body = json!({ "secrets": all }).to_string();
    let (status, code, message) = refused(&router, Method::POST, SECRET, &body).await;
    assert_eq!((status, code.as_str()), (400, "secrets_limit_reached"));
    assert!(message.contains("at most 100 secrets"), "{message}");
    // A page of another origin can send this without a preflight request.
    let request = reqwest::Client::new().post(format!("{}{SECRET}", router.address())).header(USER, ALICE);
    let answer = soon(request.header("content-type", "text/plain").body(r#"{"secrets":{"A":"1"}}"#).send());
    assert_eq!(answer.await.expect("an answer").status().as_u16(), 415);
}

#[tokio::test]
async fn a_store_that_is_away_is_a_503() {
    let router = router().await;
    router.backend.refuse(|command| {
        let away = || BackendError::Unavailable("the API server said s3cr3t".into());
        (command == BackendCommand::UserSecrets).then(away)
    });
    for (method, path, body) in [
        (Method::GET, SECRET, ""),
        (Method::DELETE, SECRET, ""),
        (Method::PUT, "/api/user/secret/A", r#"{"value":"1"}"#),
    ] {
        let (status, code, message) = refused(&router, method, path, body).await;
        assert_eq!((status, code.as_str()), (503, "unavailable"));
        assert!(!message.contains("s3cr3t"), "{message}");
    }
}
