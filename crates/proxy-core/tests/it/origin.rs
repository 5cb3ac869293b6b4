use bytes::Bytes;
use http_body_util::Empty;

use crate::world::*;

async fn status(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> u16 {
    let (upstream, _heads) = raw_upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let world = World::before(upstream).await;
    world.send(build(request("GET", "/")).body(Empty::<Bytes>::new()).unwrap()).await.status().as_u16()
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
async fn an_insecure_page_of_the_same_name_is_another_origin() {
    // Whoever sits on the network can write such a page; the browser tells by Sec-Fetch-Site.
    let own = "https://a48da0606867-oc.example.org";
    let asked = |site: &'static str| {
        move |r: http::request::Builder| r.method("POST").header("Origin", own).header("Sec-Fetch-Site", site)
    };
    assert_eq!(status(asked("same-origin")).await, 200);
    assert_eq!(status(asked("same-site")).await, 403);
    assert_eq!(status(asked("cross-site")).await, 403);
}
