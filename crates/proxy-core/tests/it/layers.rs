use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use proxy_core::ResolveError;

use crate::world::*;

#[tokio::test]
async fn a_host_leads_to_the_session_the_site_or_nowhere() {
    let (upstream, _heads) = raw_upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let world = World::before(upstream).await;
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
        let response = world.send(request).await;
        assert_eq!(response.status(), status, "{host}");
        assert_eq!(text(response).await, body, "{host}");
    }
}

#[tokio::test]
async fn somebody_elses_session_and_none_at_all_are_the_same_bytes() {
    let (upstream, _heads) = raw_upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let world = World::before(upstream).await;
    let ask = |host: &'static str, who: &'static str| {
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Auth-Request-Email: {who}\r\nConnection: close\r\n\r\n")
    };
    let without_date = |answer: String| {
        answer.lines().filter(|line| !line.starts_with("date:")).map(str::to_owned).collect::<Vec<_>>()
    };
    let theirs = without_date(world.raw(&ask(HOST, "bob@example.com")).await);
    let none = without_date(world.raw(&ask("a48da0606868-oc.example.org", "bob@example.com")).await);
    assert!(theirs[0].starts_with("HTTP/1.1 404"));
    assert_eq!(theirs, none);
}

#[tokio::test]
async fn a_refusal_is_not_activity() {
    let (upstream, _heads) = raw_upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let world = World::before(upstream).await;
    *world.sessions.state.lock() = Some(ResolveError::NotRunning { retry_after: Some(2) });
    let response = world.get("/").await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    *world.sessions.state.lock() = Some(ResolveError::NotFound);
    assert_eq!(world.get("/").await.status(), 404);
    *world.sessions.state.lock() = None;
    let mut foreign = get("/");
    foreign.headers_mut().insert(header::ORIGIN, "https://evil.com".parse().unwrap());
    assert_eq!(world.send(foreign).await.status(), 403);
    assert_eq!(world.touches(), []);
    assert_eq!(world.get("/").await.status(), 200);
    assert_eq!(world.touches().len(), 1);
}

#[tokio::test]
async fn a_dead_session_is_502_and_a_silent_one_504() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    let settings = proxy_core::ForwardSettings {
        header_timeout: std::time::Duration::from_millis(200),
        ..Default::default()
    };
    let world = World::with(address, settings, Default::default()).await;
    // It listens and never answers.
    assert_eq!(world.get("/").await.status(), 504);
    drop(closed);
    assert_eq!(world.get("/").await.status(), 502);
    let nobody = Request::get("/").header("host", "x.example.org").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(world.send(nobody).await.status(), 200);
}
