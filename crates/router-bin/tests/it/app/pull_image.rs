//! What the admin secret gives: pulling an image, and the numbers of a session's ports.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::StatusCode;
use pod_manager::{ListeningPort, PullError, PullImage, PulledImage};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use session_key::SessionHash;
use tokio::sync::watch;

use super::{TestApp, test_app::ALICE};

const SECRET: &str = "a secret of the pipeline";
const PATH: &str = "/api/admin/pull-image";

/// Pulls images as soon as the test says so; `missing` can't be pulled.
struct TestPuller {
    released: watch::Sender<bool>,
    pulled: Mutex<Vec<String>>,
}

#[async_trait::async_trait]
impl PullImage for TestPuller {
    async fn pull(
        &self,
        image: &str,
        report: &(dyn Fn(String) + Send + Sync),
    ) -> Result<PulledImage, PullError> {
        report("Pulling the image on the node node-1…".into());
        let _ = self.released.subscribe().wait_for(|released| *released).await;
        if image == "missing" {
            return Err(PullError::Failed("The node node-1 cannot pull the image: not found".into()));
        }
        self.pulled.lock().expect("no panic").push(image.to_owned());
        Ok(PulledImage { node: "node-1".into(), duration: Duration::from_secs(7) })
    }
}

async fn app_with_puller(released: bool) -> (TestApp, Arc<TestPuller>) {
    let puller = Arc::new(TestPuller { released: watch::Sender::new(released), pulled: Mutex::default() });
    let images = puller.clone();
    let variables = [
        ("IDENTITY", "headers"),
        ("TRUSTED_PROXY_SECRET", super::test_app::PROXY_SECRET),
        ("ADMIN_SECRET", SECRET),
    ];
    (TestApp::build(&variables, move |app| app.images = Some(images)).await, puller)
}

fn pull(app: &TestApp, secret: Option<&str>, body: &Value) -> RequestBuilder {
    let request = app.request(Method::POST, "localhost", PATH).json(body);
    match secret {
        Some(secret) => request.header("x-admin-secret", secret),
        None => request,
    }
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.expect("a response");
    (response.status(), response.json().await.expect("JSON"))
}

#[tokio::test]
async fn an_image_is_pulled_with_the_secret_and_without_a_sign_in() {
    let (app, puller) = app_with_puller(true).await;
    let (status, outcome) = answer(pull(&app, Some(SECRET), &json!({ "image": "opencode:2" }))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(outcome["status"], "success");
    assert_eq!(outcome["message"], "The node node-1 has the image opencode:2; it took 7 s.");
    assert_eq!(*puller.pulled.lock().expect("no panic"), ["opencode:2"]);
    let (status, outcome) = answer(pull(&app, Some(SECRET), &json!({ "image": "missing" }))).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let reason = "The node node-1 cannot pull the image: not found";
    assert_eq!(outcome, json!({ "status": "failed", "message": reason }));
}

#[tokio::test]
async fn a_client_that_asks_for_it_sees_the_progress() {
    let (app, puller) = app_with_puller(false).await;
    let request = pull(&app, Some(SECRET), &json!({ "image": "opencode:2" }));
    let mut response = request.header("accept", "text/event-stream").send().await.expect("a response");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    while !text.contains("event: progress") {
        text += &String::from_utf8_lossy(&response.chunk().await.expect("a chunk").expect("an event"));
    }
    assert!(text.contains("Pulling the image on the node node-1…"), "{text}");
    puller.released.send_replace(true);
    while let Some(chunk) = response.chunk().await.expect("a chunk") {
        text += &String::from_utf8_lossy(&chunk);
    }
    assert!(text.contains("event: complete") && text.contains("\"status\":\"success\""), "{text}");
}

#[tokio::test]
async fn requests_without_the_secret_or_an_image_are_refused() {
    let (app, puller) = app_with_puller(true).await;
    let image = json!({ "image": "opencode:2" });
    for secret in [None, Some(""), Some("a secret of the pipelinf"), Some("a secret")] {
        let (status, body) = answer(pull(&app, secret, &image)).await;
        assert_eq!((status, &body["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")), "{secret:?}");
    }
    // Being signed in is no replacement.
    let signed_in = app.request_as(ALICE, Method::POST, "localhost", PATH).json(&image);
    assert_eq!(answer(signed_in).await.0, StatusCode::FORBIDDEN);
    for (body, code) in [
        (json!({}), "invalid_request"),
        (json!({ "image": " " }), "invalid_request"),
        (json!({ "image": "two words" }), "invalid_request"),
        (json!({ "image": "x:1", "updateConfig": true }), "update_config_unsupported"),
        (json!([]), "invalid_json"),
    ] {
        let (status, answered) = answer(pull(&app, Some(SECRET), &body)).await;
        assert_eq!((status, &answered["code"]), (StatusCode::BAD_REQUEST, &json!(code)), "{body}");
    }
    assert!(puller.pulled.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn two_images_are_pulled_at_once_and_requests_are_limited() {
    let (app, puller) = app_with_puller(false).await;
    let image = json!({ "image": "opencode:2" });
    let stream = || pull(&app, Some(SECRET), &image).header("accept", "text/event-stream").send();
    let _pulls = [stream().await.expect("a response"), stream().await.expect("a response")];
    let response = pull(&app, Some(SECRET), &image).send().await.expect("a response");
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(response.headers().contains_key("retry-after"));
    puller.released.send_replace(true);
    for _ in 0..60 {
        pull(&app, Some("wrong"), &image).send().await.expect("a response");
    }
    let (status, _) = answer(pull(&app, Some(SECRET), &image)).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "guessing is slow");
}

#[tokio::test]
async fn without_a_secret_or_images_the_route_is_off() {
    let app = TestApp::start().await;
    let (status, body) = answer(pull(&app, Some(SECRET), &json!({ "image": "x" }))).await;
    assert_eq!((status, &body["code"]), (StatusCode::NOT_IMPLEMENTED, &json!("not_configured")));
    let app = TestApp::start_with(&[("ADMIN_SECRET", SECRET)]).await;
    let (status, body) = answer(pull(&app, Some(SECRET), &json!({ "image": "x" }))).await;
    assert_eq!((status, &body["code"]), (StatusCode::NOT_IMPLEMENTED, &json!("not_supported")));
}

#[tokio::test]
async fn the_secret_lists_a_sessions_ports_without_a_sign_in() {
    let (app, _puller) = app_with_puller(true).await;
    let hash = app.running_session(ALICE).await;
    let key = SessionHash::parse(&hash).expect("a hash");
    let listening = |port| ListeningPort { port, process: Some("node".into()) };
    app.backend.set_ports(key, vec![listening(3000), listening(5173)]);
    let ports = |hash: &str| app.request(Method::GET, "localhost", &format!("/api/sessions/{hash}/ports"));
    let with_secret = |hash: &str| ports(hash).header("x-admin-secret", SECRET);
    for _ in 0..100 {
        if answer(with_secret(&hash)).await.1["ports"] != json!([]) {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(answer(with_secret(&hash)).await, (StatusCode::OK, json!({ "ports": [3000, 5173] })));
    for unknown in ["0123456789ab", "no-hash"] {
        assert_eq!(answer(with_secret(unknown)).await, (StatusCode::OK, json!({ "ports": [] })), "{unknown}");
    }
    assert_eq!(answer(ports(&hash).header("x-admin-secret", "wrong")).await.0, StatusCode::FORBIDDEN);
    // Without the secret it is an address of the API as any other: there is none for users.
    assert_eq!(answer(ports(&hash)).await.0, StatusCode::UNAUTHORIZED);
    let signed_in = app.get(ALICE, "localhost", &format!("/api/sessions/{hash}/ports")).await;
    assert_eq!(signed_in.status(), StatusCode::NOT_FOUND);
}
