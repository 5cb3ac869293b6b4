//! Requests of other origins' pages.

use bytes::Bytes;
use http::request::Builder;
use http_body_util::Empty;

use crate::test_proxy::*;

const OWN: &str = "https://a48da0606867-oc.example.org";
const OTHER: &str = "https://b48da0606867-oc.example.org";

async fn status(build: impl FnOnce(Builder) -> Builder) -> u16 {
    let proxy = TestProxy::with_response(OK).await;
    proxy.send(build(request("GET", "/")).body(Empty::<Bytes>::new()).unwrap()).await.status().as_u16()
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    assert_eq!(status(|r| r.header("Origin", OWN)).await, 200);
    assert_eq!(status(|r| r.header("Origin", "https://A48DA0606867-oc.example.org:443")).await, 200);
    assert_eq!(status(|r| r.header("Origin", OTHER)).await, 403);
    assert_eq!(status(|r| r.header("Origin", "null")).await, 403);
    assert_eq!(status(|r| r.header("Origin", OWN).header("Origin", OTHER)).await, 403);
    assert_eq!(status(|r| r.header("Sec-Fetch-Site", "same-origin")).await, 200);
    assert_eq!(status(|r| r.header("Sec-Fetch-Site", "none")).await, 200);
    assert_eq!(status(|r| r.header("Sec-Fetch-Site", "same-site")).await, 403);
    assert_eq!(
        status(|r| r.header("Sec-Fetch-Site", "cross-site").header("Sec-Fetch-Mode", "no-cors")).await,
        403
    );
    let navigation = |destination: &'static str| {
        move |r: Builder| {
            r.header("Sec-Fetch-Site", "cross-site")
                .header("Sec-Fetch-Mode", "navigate")
                .header("Sec-Fetch-Dest", destination)
        }
    };
    assert_eq!(status(navigation("document")).await, 200);
    assert_eq!(status(navigation("iframe")).await, 403);
    assert_eq!(status(|r| navigation("document")(r.method("POST"))).await, 403);
}

#[tokio::test]
async fn a_browsers_websocket_needs_the_origin_of_its_host() {
    let websocket = |r: Builder| {
        r.header("Connection", "Upgrade").header("Upgrade", "websocket").header("Sec-WebSocket-Key", "x")
    };
    assert_eq!(status(|r| websocket(r).header("Cookie", "a=b")).await, 403);
    assert_eq!(status(|r| websocket(r).header("Sec-Fetch-Site", "same-origin")).await, 403);
    assert_eq!(status(|r| websocket(r).header("Origin", OTHER)).await, 403);
    // This session answers 200 instead of upgrading, so the request has passed.
    assert_eq!(status(|r| websocket(r).header("Origin", OWN)).await, 200);
    assert_eq!(status(websocket).await, 200);
}

#[tokio::test]
async fn an_http_page_of_the_same_host_is_another_origin() {
    // An attacker in the network can serve such a page. Only `Sec-Fetch-Site` shows that it is another
    // origin.
    let post = |site: &'static str| {
        move |r: Builder| r.method("POST").header("Origin", OWN).header("Sec-Fetch-Site", site)
    };
    assert_eq!(status(post("same-origin")).await, 200);
    assert_eq!(status(post("same-site")).await, 403);
    assert_eq!(status(post("cross-site")).await, 403);
}

#[tokio::test]
async fn the_dev_servers_of_one_session_may_use_each_other() {
    const API: &str = "8080-a48da0606867-oc.example.org";
    let status = |host: &'static str, name: &'static str, from: &'static str| async move {
        let proxy = TestProxy::with_response(OK).await;
        let builder = http::Request::get("/")
            .header("Host", host)
            .header("X-Auth-Request-Email", "alice@example.com")
            .header("Sec-Fetch-Site", "same-site")
            .header("Sec-Fetch-Mode", "cors")
            .header(name, from);
        proxy.send(builder.body(Empty::<Bytes>::new()).unwrap()).await.status().as_u16()
    };
    assert_eq!(status(API, "Origin", "https://5173-a48da0606867-oc.example.org").await, 200);
    // An image has no `Origin`.
    assert_eq!(status(API, "Referer", "https://5173-a48da0606867-oc.example.org/").await, 200);
    // Another session, the session's opencode, the site.
    for other in [
        "https://5173-b48da0606867-oc.example.org",
        "https://a48da0606867-oc.example.org",
        "https://example.org",
        "https://80-a48da0606867-oc.example.org",
    ] {
        assert_eq!(status(API, "Origin", other).await, 403, "{other}");
        assert_eq!(status(API, "Referer", other).await, 403, "{other}");
    }
    // A dev server's page does not reach the session's opencode.
    assert_eq!(status(HOST, "Origin", "https://5173-a48da0606867-oc.example.org").await, 403);
    assert_eq!(status(HOST, "Referer", "https://5173-a48da0606867-oc.example.org/").await, 403);
}
