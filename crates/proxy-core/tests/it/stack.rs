//! The whole stack: where requests go, and how each layer refuses them.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use proxy_core::{ForwardSettings, ResolveError};

use crate::test_proxy::*;

#[tokio::test]
async fn a_host_name_selects_the_session_or_the_site() {
    let proxy = TestProxy::with_response(OK).await;
    for (host, status, body) in [
        (HOST, 200, "ok"),
        ("5173-a48da0606867-oc.example.org", 200, "ok"),
        ("example.org", 200, "the site"),
        ("code.example.org:443", 200, "the site"),
        ("evil.com", 421, "this server does not serve that host name\n"),
        ("127.0.0.1", 421, "this server does not serve that host name\n"),
        ("a48da0606867-oc.example.org.evil.com", 421, "this server does not serve that host name\n"),
    ] {
        let mut request = get("/");
        request.headers_mut().insert(header::HOST, host.parse().unwrap());
        let response = proxy.send(request).await;
        assert_eq!(response.status(), status, "{host}");
        assert_eq!(text(response).await, body, "{host}");
    }
}

#[tokio::test]
async fn another_users_session_and_a_missing_one_are_the_same_bytes() {
    let proxy = TestProxy::with_response(OK).await;
    let lines = async |host: &str| {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nX-Auth-Request-Email: bob@example.com\r\n\
             Connection: close\r\n\r\n"
        );
        let response = proxy.send_raw(&request).await;
        response.lines().filter(|line| !line.starts_with("date:")).map(str::to_owned).collect::<Vec<_>>()
    };
    let another_users = lines(HOST).await;
    let missing = lines("a48da0606868-oc.example.org").await;
    assert!(another_users[0].starts_with("HTTP/1.1 404"));
    assert_eq!(another_users, missing);
}

#[tokio::test]
async fn a_refusal_is_not_activity() {
    let proxy = TestProxy::with_response(OK).await;
    *proxy.session.error.lock() = Some(ResolveError::NotRunning { retry_after: Some(2) });
    let response = proxy.get("/").await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    *proxy.session.error.lock() = Some(ResolveError::NotFound);
    assert_eq!(proxy.get("/").await.status(), 404);
    *proxy.session.error.lock() = None;
    let mut cross_origin = get("/");
    cross_origin.headers_mut().insert(header::ORIGIN, "https://evil.com".parse().unwrap());
    assert_eq!(proxy.send(cross_origin).await.status(), 403);
    assert_eq!(proxy.activities(), []);
    assert_eq!(proxy.get("/").await.status(), 200);
    assert_eq!(proxy.activities().len(), 1);
}

#[tokio::test]
async fn a_closed_session_is_502_and_an_unresponsive_one_504() {
    let unresponsive = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = ForwardSettings { header_timeout: Duration::from_millis(200), ..Default::default() };
    let proxy = TestProxy::start_with(unresponsive.local_addr().unwrap(), settings, Default::default()).await;
    assert_eq!(proxy.get("/").await.status(), 504);
    drop(unresponsive);
    assert_eq!(proxy.get("/").await.status(), 502);
    let to_site = Request::get("/").header("host", "x.example.org").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(proxy.send(to_site).await.status(), 200);
}
