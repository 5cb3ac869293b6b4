//! What administrators see and do, and that nobody else does.

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use api::{
    client::ClientError,
    testing::{ADMIN, USER},
    wire::State,
};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::{ALICE, BOB, create, router, soon, wait_for};

const ADMINISTRATOR: &str = "root@example.org";

#[tokio::test]
async fn an_administrator_lists_everybodys_sessions_without_their_contents() {
    let router = router().await;
    let (alice, bob) = (router.client(ALICE), router.client(BOB));
    let hashes = [create(&alice, "one").await, create(&bob, "two").await];
    for (client, hash) in [(&alice, hashes[0]), (&bob, hashes[1])] {
        wait_for(client, hash, State::Running).await;
    }
    let list = soon(router.administrator(ADMINISTRATOR).list_all()).await.expect("a list");
    let mut owners: Vec<_> = list.sessions.iter().map(|session| session.email.as_str()).collect();
    owners.sort_unstable();
    assert_eq!(owners, [ALICE, BOB]);
    let text = serde_json::to_string(&list).expect("JSON");
    for secret in ["A title", "localhost:3000", "ses_fake1", "Fix it"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    // Being an administrator gives no access to the sessions themselves.
    let administrator = router.administrator(ADMINISTRATOR);
    assert_eq!(soon(administrator.list()).await.expect("a list").sessions, []);
    assert!(matches!(soon(administrator.get(hashes[0])).await, Err(ClientError::Refused { .. })));
}

#[tokio::test]
async fn an_administrator_stops_and_deletes_any_session_and_reads_its_log() {
    let router = router().await;
    let (alice, administrator) = (router.client(ALICE), router.administrator(ADMINISTRATOR));
    let hash = create(&alice, "fix").await;
    wait_for(&alice, hash, State::Running).await;
    let log = soon(administrator.logs_of_any(hash, 5)).await.expect("a log");
    assert!(log.contains("running as"), "{log}");
    let stopped = soon(administrator.stop_any(hash)).await.expect("stopped");
    assert_eq!(stopped.url, None);
    assert_eq!(wait_for(&alice, hash, State::Stopped).await.reason.expect("a reason").code, "requested");
    soon(administrator.delete_any(hash)).await.expect("deleted");
    assert_eq!(soon(alice.list()).await.expect("a list").sessions, []);
    assert!(matches!(soon(administrator.stop_any(hash)).await, Err(ClientError::Refused { .. })));
}

#[tokio::test]
async fn for_everybody_else_an_administrators_address_is_an_unknown_one() {
    let router = router().await;
    let alice = router.client(ALICE);
    let hash = create(&alice, "fix").await;
    wait_for(&alice, hash, State::Running).await;
    let answer = async |method: &Method, path: &str| {
        let request = reqwest::Client::new().request(method.clone(), format!("{}{path}", router.address()));
        let response = soon(request.header(USER, ALICE).send()).await.expect("an answer");
        let (status, body) = (response.status(), soon(response.text()).await.expect("text"));
        (status, body)
    };
    for (method, path) in [
        (Method::GET, "/api/admin/sessions".to_owned()),
        // Her own session, and one that does not exist.
        (Method::POST, format!("/api/admin/sessions/{hash}/stop")),
        (Method::POST, "/api/admin/sessions/0123456789ab/stop".to_owned()),
        (Method::DELETE, format!("/api/admin/sessions/{hash}")),
        (Method::GET, format!("/api/admin/sessions/{hash}/logs")),
        (Method::GET, format!("/api/admin/sessions/{hash}/logs?lines=many")),
    ] {
        let unknown = answer(&method, "/api/no/such/route").await;
        assert_eq!(unknown.0, StatusCode::NOT_FOUND);
        assert_eq!(answer(&method, &path).await, unknown, "{method} {path}");
    }
    assert_eq!(soon(alice.get(hash)).await.expect("the session").state, State::Running);
}

#[tokio::test]
async fn the_sites_configuration_says_who_is_an_administrator() {
    let router = router().await;
    for is_administrator in [false, true] {
        let mut request = reqwest::Client::new().get(format!("{}/api/config", router.address()));
        request = request.header(USER, ALICE);
        if is_administrator {
            request = request.header(ADMIN, "yes");
        }
        let config: Value = soon(soon(request.send()).await.expect("an answer").json()).await.expect("JSON");
        assert_eq!(config["admin"], is_administrator);
    }
}
