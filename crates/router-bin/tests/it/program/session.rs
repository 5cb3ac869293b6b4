//! A session behind the router: its page, its events, its terminal.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use super::{TestHome, TestRouter, eventually, test_router::TIMEOUT};

#[tokio::test]
async fn page_events_and_terminal_of_a_session_pass_through_the_router() {
    let home = TestHome::new();
    let router = home.start(&[]).await;
    let hash = router.new_session().await;
    let host = format!("{hash}.localhost");

    let page = router.get(&host, "/").header("accept", "text/html").send().await.expect("a response");
    assert_eq!(page.status(), 200);
    assert!(!page.headers().contains_key("www-authenticate"));
    assert!(page.text().await.expect("text").contains("<html"));

    let session = router.session(&hash).await;
    let url = session["url"].as_str().expect("an address");
    assert!(url.starts_with(&format!("http://{host}:{}/", router.port)), "{url}");
    assert!(url.contains("/session/"), "{url}");

    let mut events = router.get(&host, "/event").send().await.expect("a response").bytes_stream();
    let first =
        timeout(TIMEOUT, events.next()).await.expect("an event in time").expect("an event").expect("bytes");
    assert!(String::from_utf8_lossy(&first).contains("server.connected"), "{first:?}");

    check_terminal(&router, &host).await;
    check_audit(&router, &hash).await;
}

/// Opens a terminal as opencode's page does: create it, get a ticket, connect a WebSocket.
async fn check_terminal(router: &TestRouter, host: &str) {
    let origin = format!("http://{host}:{}", router.port);
    let post = |path: String| {
        router
            .request(reqwest::Method::POST, host, &path)
            .header("origin", &origin)
            .header("x-opencode-ticket", "1")
    };
    let created = post("/pty".into())
        .json(&json!({ "command": "/bin/sh", "args": [] }))
        .send()
        .await
        .expect("a response");
    let status = created.status();
    let pty: Value = created.json().await.expect("JSON");
    assert!(status.is_success(), "{pty:#}");
    let id = pty["id"].as_str().expect("an id");
    let ticket = post(format!("/pty/{id}/connect-token")).json(&json!({})).send().await.expect("a response");
    let ticket: Value = ticket.json().await.expect("JSON");
    let ticket = ticket["ticket"].as_str().unwrap_or_else(|| panic!("a ticket: {ticket:#}"));

    let address = format!("ws://{host}:{}/pty/{id}/connect?ticket={ticket}", router.port);
    let mut request = address.into_client_request().expect("a request");
    request.headers_mut().insert("origin", origin.parse().expect("a value"));
    let stream = TcpStream::connect(("127.0.0.1", router.port)).await.expect("a connection");
    let (mut socket, _) = client_async(request, stream).await.expect("a WebSocket");
    socket.send(Message::text("echo $((6*7))-through\n")).await.expect("sent");
    let echoed = async {
        let mut output = String::new();
        while !output.contains("42-through") {
            let message = socket.next().await.expect("an open socket").expect("a message");
            output.push_str(&String::from_utf8_lossy(&message.into_data()));
        }
    };
    timeout(TIMEOUT, echoed).await.expect("an echo in time");

    // A page of another origin is refused.
    let mut request =
        format!("ws://{host}:{}/pty/{id}/connect", router.port).into_client_request().expect("a request");
    request.headers_mut().insert("origin", "http://evil.example".parse().expect("a value"));
    let stream = TcpStream::connect(("127.0.0.1", router.port)).await.expect("a connection");
    let refused = client_async(request, stream).await.expect_err("a refusal").to_string();
    assert!(refused.contains("403"), "{refused}");
}

/// Waits for the audit lines, since the log is read concurrently.
async fn check_audit(router: &TestRouter, hash: &str) {
    let refused = router.request(reqwest::Method::POST, "localhost", "/api/sessions");
    let refused = refused.header("content-type", "application/json").body(r#"{"repoUrl":"-x"}"#).send();
    assert_eq!(refused.await.expect("a response").status(), 400);
    eventually("the audit has the code of the refusal", async || {
        let codes: Vec<_> = router.log().iter().map(|entry| entry["code"].clone()).collect();
        codes.contains(&"invalid_repository".into()).then_some(())
    })
    .await;
    eventually("the audit has all three actions", async || {
        let log = router.log();
        let of_session =
            log.iter().filter(|entry| entry["target"] == "audit" && entry["session.hash"] == hash);
        let actions: Vec<&str> = of_session.filter_map(|entry| entry["action"].as_str()).collect();
        ["created", "opened", "refused"].iter().all(|action| actions.contains(action)).then_some(())
    })
    .await;
    let log = router.log();
    assert!(!log.iter().any(|entry| entry.to_string().contains("dev@localhost")), "{log:#?}");
}
