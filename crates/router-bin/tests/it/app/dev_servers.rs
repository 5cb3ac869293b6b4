//! Dev servers: who reaches which ports, and where they are shown.

use http::{HeaderMap, StatusCode};
use pod_manager::ListeningPort;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    TestApp,
    test_app::{ALICE, BOB},
};

/// A dev server on this machine that answers with its `Host` and `Origin`.
async fn dev_server() -> (u16, JoinSet<()>) {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = server.local_addr().expect("an address").port();
    let names = axum::Router::new().fallback(|headers: HeaderMap| async move {
        assert!(!headers.contains_key("authorization"), "a dev server never gets opencode's password");
        let value = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
        format!("{} {}", value("host"), value("origin"))
    });
    let task = async move { drop(axum::serve(server, names).await) };
    (port, JoinSet::from_iter([task]))
}

fn listening(port: u16) -> Vec<ListeningPort> {
    vec![ListeningPort { port, process: Some("vite".into()) }]
}

async fn text(response: Response) -> String {
    assert_eq!(response.status(), StatusCode::OK);
    response.text().await.expect("text")
}

/// Waits until the session's ports are these.
async fn wait_for_ports(app: &TestApp, user: &str, hash: &str, expected: Value) {
    let found = async {
        loop {
            let path = format!("/api/sessions/{hash}");
            let session: Value = app.get(user, "localhost", &path).await.json().await.expect("JSON");
            if session["ports"] == expected {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), found).await.expect("the ports are shown");
}

#[tokio::test]
async fn on_a_machine_with_one_user_all_ports_but_opencodes_and_the_routers_are_reachable() {
    let (port, _server) = dev_server().await;
    let app = TestApp::single_user().await;
    let hash = app.running_session(ALICE).await;
    let get = async |port: u16| {
        let host = format!("{port}-{hash}.localhost");
        app.request(Method::GET, &host, "/").send().await.expect("a response")
    };
    // The server believes to be at localhost, whatever the public name is.
    assert_eq!(text(get(port).await).await, format!("localhost:{port} -"));
    let health = app.health.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let session = app.backend.status(hash.parse().expect("a hash")).expect("a session");
    let pod_manager::Phase::Running(endpoint) = &session.phase else { panic!("{session:?}") };
    for closed in [app.port, health, endpoint.address.port()] {
        assert_eq!(get(closed).await.status(), StatusCode::NOT_FOUND, "{closed}");
    }
}

#[tokio::test]
async fn on_a_machine_with_several_users_only_a_sessions_own_ports_are_reachable() {
    let (port, _server) = dev_server().await;
    let (foreign, _foreign_server) = dev_server().await;
    let app = TestApp::start().await;
    let (hash, other) = (app.running_session(ALICE).await, app.running_session(BOB).await);
    app.backend.set_ports(hash.parse().expect("a hash"), listening(port));
    app.backend.set_ports(other.parse().expect("a hash"), listening(foreign));
    let public = |port: u16| format!("http://{}/", app.public_name(&format!("{port}-{hash}.localhost")));
    wait_for_ports(&app, ALICE, &hash, json!([{ "port": port, "url": public(port), "process": "vite" }]))
        .await;

    let get = async |user, port: u16| app.get(user, &format!("{port}-{hash}.localhost"), "/").await;
    assert_eq!(text(get(ALICE, port).await).await, format!("localhost:{port} -"));
    // Another session's port, and another user.
    assert_eq!(get(ALICE, foreign).await.status(), StatusCode::NOT_FOUND);
    let (refused, missing) =
        (get(BOB, port).await, app.get(BOB, &format!("{port}-0123456789ab.localhost"), "/").await);
    assert_eq!((refused.status(), missing.status()), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND));
    // The server has ended, and its port is no longer the session's.
    app.backend.set_ports(hash.parse().expect("a hash"), Vec::new());
    wait_for_ports(&app, ALICE, &hash, Value::Null).await;
    assert_eq!(get(ALICE, port).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_page_of_one_dev_server_uses_another_one_of_its_session_only() {
    let (port, _server) = dev_server().await;
    let app = TestApp::single_user().await;
    let hash = app.running_session(ALICE).await;
    let host = format!("{port}-{hash}.localhost");
    let from = async |origin: String| {
        let origin = format!("http://{}", app.public_name(&origin));
        let request = app.request(Method::POST, &host, "/").header("origin", origin);
        request.header("sec-fetch-site", "cross-site").send().await.expect("a response")
    };
    let answer = text(from(format!("5173-{hash}.localhost")).await).await;
    assert_eq!(answer, format!("localhost:{port} http://localhost:5173"));
    for other in [format!("{hash}.localhost"), "5173-0123456789ab.localhost".into(), "localhost".into()] {
        assert_eq!(from(other.clone()).await.status(), StatusCode::FORBIDDEN, "{other}");
    }
}
