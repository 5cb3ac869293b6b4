//! A session through the router: its page, its events, a terminal in it.

#![expect(clippy::disallowed_methods, reason = "a test reads whole answers of the servers that it started")]

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use super::{House, Router, eventually, house::PATIENCE};

#[tokio::test]
async fn its_page_its_events_and_a_terminal_come_through() {
    let house = House::new();
    let router = house.start(&[]).await;
    let hash = router.new_session().await;
    let host = format!("{hash}.localhost");

    let page = router.get(&host, "/").header("accept", "text/html").send().await.expect("an answer");
    assert_eq!(page.status(), 200);
    assert!(!page.headers().contains_key("www-authenticate"));
    assert!(page.text().await.expect("text").contains("<html"));

    let session = router.session(&hash).await;
    let url = session["url"].as_str().expect("an address");
    assert!(url.starts_with(&format!("http://{host}:{}/", router.port)), "{url}");
    assert!(url.contains("/session/"), "{url}");

    let mut events = router.get(&host, "/event").send().await.expect("an answer").bytes_stream();
    let first = timeout(PATIENCE, events.next()).await.expect("at once").expect("an event").expect("bytes");
    assert!(String::from_utf8_lossy(&first).contains("server.connected"), "{first:?}");

    terminal_echoes(&router, &host).await;
    audit_names_nobody(&router, &hash).await;
}

/// opencode's own way: a terminal, a ticket for it, a WebSocket.
async fn terminal_echoes(router: &Router, host: &str) {
    let origin = format!("http://{host}:{}", router.port);
    let post = |path: String| {
        router
            .request(reqwest::Method::POST, host, &path)
            .header("origin", &origin)
            .header("x-opencode-ticket", "1")
    };
    let made = post("/pty".into())
        .json(&json!({ "command": "/bin/sh", "args": [] }))
        .send()
        .await
        .expect("an answer");
    let status = made.status();
    let pty: Value = made.json().await.expect("JSON");
    assert!(status.is_success(), "{pty:#}");
    let id = pty["id"].as_str().expect("an id");
    let ticket = post(format!("/pty/{id}/connect-token")).json(&json!({})).send().await.expect("an answer");
    let ticket: Value = ticket.json().await.expect("JSON");
    let ticket = ticket["ticket"].as_str().unwrap_or_else(|| panic!("a ticket: {ticket:#}"));

    let address = format!("ws://{host}:{}/pty/{id}/connect?ticket={ticket}", router.port);
    let mut request = address.into_client_request().expect("a request");
    request.headers_mut().insert("origin", origin.parse().expect("a value"));
    let stream = TcpStream::connect(("127.0.0.1", router.port)).await.expect("a connection");
    let (mut socket, _) = client_async(request, stream).await.expect("a WebSocket");
    socket.send(Message::text("echo $((6*7))-through\n")).await.expect("sent");
    let echoed = async {
        let mut seen = String::new();
        while !seen.contains("42-through") {
            let message = socket.next().await.expect("more").expect("a message");
            seen.push_str(&String::from_utf8_lossy(&message.into_data()));
        }
    };
    timeout(PATIENCE, echoed).await.expect("the terminal answers");

    // Another origin's page gets no terminal.
    let mut request =
        format!("ws://{host}:{}/pty/{id}/connect", router.port).into_client_request().expect("a request");
    request.headers_mut().insert("origin", "http://evil.example".parse().expect("a value"));
    let stream = TcpStream::connect(("127.0.0.1", router.port)).await.expect("a connection");
    let refused = client_async(request, stream).await.expect_err("refused").to_string();
    assert!(refused.contains("403"), "{refused}");
}

/// The log is read beside the test: what was logged last comes a moment later.
async fn audit_names_nobody(router: &Router, hash: &str) {
    let refused = router.request(reqwest::Method::POST, "localhost", "/api/sessions");
    let refused = refused.header("content-type", "application/json").body(r#"{"repoUrl":"-x"}"#).send();
    assert_eq!(refused.await.expect("an answer").status(), 400);
    eventually("the audit tells why, by the code that the answer had", async || {
        let whys: Vec<_> = router.log().iter().map(|entry| entry["why"].clone()).collect();
        whys.contains(&"invalid_repository".into()).then_some(())
    })
    .await;
    eventually("the audit tells of all three", async || {
        let log = router.log();
        let of_session =
            log.iter().filter(|entry| entry["target"] == "audit" && entry["session.hash"] == hash);
        let deeds: Vec<&str> = of_session.filter_map(|entry| entry["deed"].as_str()).collect();
        ["created", "opened", "refused"].iter().all(|deed| deeds.contains(deed)).then_some(())
    })
    .await;
    let log = router.log();
    assert!(!log.iter().any(|entry| entry.to_string().contains("dev@localhost")), "{log:#?}");
}
