//! The examples `axum` and `cached_identity` do what they show.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;

use crate::{embed::Example, test_proxy::*};

const FILES: u32 = 256;

fn request(path: &str, name: header::HeaderName, value: &str) -> Request<Empty<Bytes>> {
    Request::get(path).header("host", "127.0.0.1").header(name, value).body(Empty::new()).unwrap()
}

#[tokio::test]
async fn the_layers_work_in_an_axum_application_with_types_of_its_own() {
    let (upstream, mut heads) = raw_session(OK).await;
    let mut example = Example::run("axum", &[&upstream.to_string()], FILES);
    let get = |path, token: &str| {
        let request = request(path, header::AUTHORIZATION, &format!("Bearer {token}"));
        send_to(example.address, request)
    };

    let me = get("/me", "7").await;
    assert_eq!(me.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "tower-http's layer");
    assert_eq!(text(me).await, "User(7)", "axum's handler sees the identity");

    let notebook = get("/notebooks/7/x?y", "7").await;
    assert_eq!(notebook.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(text(notebook).await, "ok");
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with("GET /notebooks/7/x?y HTTP/1.1\r\n"), "{head}");
    assert!(!head.contains("Bearer"), "{head}");
    assert!(head.to_ascii_lowercase().contains("x-forwarded-for: 127.0.0.1\r\n"), "{head}");

    let refused = get("/me", "nobody").await;
    assert_eq!(refused.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    for (path, token) in [("/notebooks/7/x", "8"), ("/notebooks/none/x", "7")] {
        assert_eq!(get(path, token).await.status(), StatusCode::NOT_FOUND, "{path} as {token}");
    }
    assert_eq!(example.line(), "User(7): Request");
}

#[tokio::test]
async fn an_identity_is_looked_up_once_for_all_requests() {
    let mut example = Example::run("cached_identity", &[], FILES);
    let get = |user: &str| {
        let request = request("/", header::COOKIE, &format!("a=b; session={user}"));
        send_to(example.address, request)
    };
    let (first, second) = tokio::join!(get("alice"), get("alice"));
    assert_eq!(text(first).await, "alice@example.com");
    assert_eq!(text(second).await, "alice@example.com");
    assert_eq!(text(get("alice").await).await, "alice@example.com");
    assert_eq!(get(&"x".repeat(600)).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(text(get("bob").await).await, "bob@example.com");
    assert_eq!([example.line(), example.line()], ["looking up alice", "looking up bob"]);
}
