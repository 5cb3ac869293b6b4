use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use proxy_core::Unroutable;

use crate::world::*;

async fn status(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> u16 {
    let (upstream, _heads) = raw_upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let world = World::before(upstream).await;
    world.send(build(request("GET", "/")).body(Empty::<Bytes>::new()).unwrap()).await.status().as_u16()
}

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
    *world.sessions.state.lock() = Some(Unroutable::NotRunning { retry_after: Some(2) });
    let response = world.get("/").await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    *world.sessions.state.lock() = Some(Unroutable::NotFound);
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
async fn another_origins_page_reaches_nothing() {
    let own = "https://a48da0606867-oc.example.org";
    let sibling = "https://b48da0606867-oc.example.org";
    assert_eq!(status(|r| r.header("Origin", own)).await, 200);
    assert_eq!(status(|r| r.header("Origin", "https://A48DA0606867-oc.example.org:443")).await, 200);
    assert_eq!(status(|r| r.header("Origin", sibling)).await, 403);
    assert_eq!(status(|r| r.header("Origin", "null")).await, 403);
    assert_eq!(status(|r| r.header("Origin", own).header("Origin", sibling)).await, 403);
    assert_eq!(status(|r| r.header("Sec-Fetch-Site", "same-origin")).await, 200);
    assert_eq!(status(|r| r.header("Sec-Fetch-Site", "none")).await, 200);
    assert_eq!(status(|r| r.header("Sec-Fetch-Site", "same-site")).await, 403);
    assert_eq!(
        status(|r| r.header("Sec-Fetch-Site", "cross-site").header("Sec-Fetch-Mode", "no-cors")).await,
        403
    );
    let link = |dest: &'static str| {
        move |r: http::request::Builder| {
            r.header("Sec-Fetch-Site", "cross-site")
                .header("Sec-Fetch-Mode", "navigate")
                .header("Sec-Fetch-Dest", dest)
        }
    };
    assert_eq!(status(link("document")).await, 200);
    assert_eq!(status(link("iframe")).await, 403);
    assert_eq!(status(|r| link("document")(r.method("POST"))).await, 403);
}

#[tokio::test]
async fn a_browsers_websocket_needs_its_own_hosts_origin() {
    let socket = |r: http::request::Builder| {
        r.header("Connection", "Upgrade").header("Upgrade", "websocket").header("Sec-WebSocket-Key", "x")
    };
    assert_eq!(status(|r| socket(r).header("Cookie", "a=b")).await, 403);
    assert_eq!(status(|r| socket(r).header("Sec-Fetch-Site", "same-origin")).await, 403);
    assert_eq!(status(|r| socket(r).header("Origin", "https://b48da0606867-oc.example.org")).await, 403);
    // The server here answers 200, no upgrade: it was let through.
    assert_eq!(status(|r| socket(r).header("Origin", "https://a48da0606867-oc.example.org")).await, 200);
    assert_eq!(status(socket).await, 200);
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
