//! Headers that are removed, replaced or kept, in both directions.

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;

use crate::test_proxy::*;

/// Returns the head that the session receives of a request, in lower case.
async fn forwarded_head(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> String {
    let (session, mut heads) = raw_session(OK).await;
    let proxy = TestProxy::start(session).await;
    let response = proxy.send(build(request("GET", "/a?b=c")).body(Empty::<Bytes>::new()).unwrap()).await;
    assert_eq!(response.status(), 200);
    within("the request", heads.recv()).await.unwrap().to_lowercase()
}

#[tokio::test]
async fn identities_and_tokens_of_the_user_never_reach_a_session() {
    let head = forwarded_head(|request| {
        request
            .header("X-Auth-Request-User", "alice")
            .header("X-Auth-Request-Access-Token", "gho_secret")
            .header("X_Auth_Request_Token", "gho_secret")
            .header("X-Forwarded-Access-Token", "gho_secret")
            .header("X-Forwarded-Email", "alice@example.com")
            .header("CF-Access-Client-Secret", "secret")
            .header("X-Amzn-Oidc-Data", "secret")
            .header("X-Pomerium-Jwt-Assertion", "secret")
            .header("Remote-Email", "alice@example.com")
            .header("Authorization", "Bearer gho_secret")
            .header("Cookie", "theme=dark; _oauth2_proxy=secret; a=b")
            .header("Cookie", "_oauth2_proxy_0=secret; __Secure-_oauth2_proxy_1=secret")
            .header("Cookie", "_oauth2_proxy_csrf_x=secret")
            .header("Cookie", "_oauth2_proxyish=mine")
    })
    .await;
    assert!(!head.contains("secret") && !head.contains("alice") && !head.contains("auth-request"), "{head}");
    // One line: HTTP/2 clients may send one for each cookie, and HTTP/1.1 allows only one (RFC 9113 §8.2.3).
    assert!(head.contains("cookie: theme=dark; a=b; _oauth2_proxyish=mine\r\n"), "{head}");
    assert!(head.contains("authorization: basic b3blbmnvzgu6chc="), "{head}");
}

#[tokio::test]
async fn secrets_and_identities_of_any_sign_in_proxy_never_reach_a_session() {
    let head = forwarded_head(|mut request| {
        for name in [
            "X-Admin-Secret",
            "X_Admin_Secret",
            "X-Router-Proxy-Secret",
            "X_ROUTER_PROXY_SECRET",
            "X-Authentik-Username",
            "X-authentik-jwt",
            "X-Vouch-User",
            "X-Vouch-IdP-AccessToken",
            "X-WebAuth-User",
            "X_WebAuth_Groups",
            "X-Remote-User",
            "X-Remote-Extra-Scopes",
            "X-Access-Token",
            "X-Userinfo",
            "X_Userinfo",
            "Cf-Connecting-Ip",
            "Cf_Connecting-IP",
            "True-Client-Ip",
            "True_Client_IP",
        ] {
            request = request.header(name, "leaked");
        }
        request.header("X-Remotely", "kept")
    })
    .await;
    assert!(!head.contains("leaked"), "{head}");
    assert!(head.contains("x-remotely: kept"), "{head}");
}

#[tokio::test]
async fn the_host_is_kept_and_forwarding_headers_are_replaced() {
    let head = forwarded_head(|request| {
        request
            .header("X-Forwarded-For", "6.6.6.6")
            .header("X-Forwarded-Host", "evil.com")
            .header("X-Forwarded-Proto", "gopher")
            .header("X-Real-IP", "6.6.6.6")
            .header("X-Forwarded-Server", "evil.com")
            .header("X-Forwarded-Prefix", "/evil")
            .header("X_Forwarded_For", "6.6.6.6")
            .header("Forwarded", "for=6.6.6.6")
    })
    .await;
    assert!(head.starts_with("get /a?b=c http/1.1\r\n"), "{head}");
    assert!(!head.contains("6.6.6.6") && !head.contains("evil") && !head.contains("gopher"), "{head}");
    for line in [
        "host: a48da0606867-oc.example.org\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-host: a48da0606867-oc.example.org\r\n",
        "x-forwarded-proto: https\r\n",
        "x-forwarded-port: 443\r\n",
    ] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
}

#[tokio::test]
async fn hop_by_hop_headers_are_not_forwarded() {
    let head = forwarded_head(|request| {
        request
            .header("Connection", "X-One, keep-alive")
            .header("Connection", "x-two,host")
            .header("X-One", "1")
            .header("X-Two", "2")
            .header("X-Three", "3")
            .header("Keep-Alive", "timeout=5")
            .header("Proxy-Authorization", "x")
            .header("Proxy-Connection", "keep-alive")
            .header("TE", "gzip, trailers")
    })
    .await;
    for removed in ["x-one", "x-two", "keep-alive", "proxy-"] {
        assert!(!head.contains(removed), "{removed} is in {head}");
    }
    assert!(
        head.contains("x-three: 3")
            && head.contains("te: trailers\r\n")
            && head.contains("connection: te\r\n")
            && head.contains("host: a48d"),
        "{head}"
    );
}

#[tokio::test]
async fn headers_that_affect_other_hosts_never_reach_the_browser() {
    let proxy = TestProxy::with_response(concat!(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
        "Connection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n",
        "Set-Cookie: own=1; Path=/; HttpOnly\r\n",
        "Set-Cookie: wide=1; Domain=example.org\r\n",
        "Set-Cookie: wide2=1; path=/; dOmAiN =.example.org\r\n",
        "Set-Cookie: _oauth2_proxy=forged\r\nSet-Cookie: __Host-_oauth2_proxy_0=forged; Secure\r\n",
        "Set-Cookie: ; x\r\nSet-Cookie: =_oauth2_proxy=forged\r\n",
        "Clear-Site-Data: \"*\"\r\nStrict-Transport-Security: max-age=1\r\nAlt-Svc: h3=\":1\"\r\nNEL: {}\r\n",
        "Report-To: {}\r\nReporting-Endpoints: a=\"https://evil\"\r\nService-Worker-Allowed: /\r\n",
        "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n",
        "X-Accel-Redirect: /internal/\r\nX-Sendfile: /etc/passwd\r\nX-Accel-Buffering: no\r\n",
        "Content-Security-Policy: default-src 'self'\r\n\r\nok",
    ))
    .await;
    let response = proxy.get("/app/worker.js").await;
    let headers = response.headers();
    let cookies: Vec<_> = headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(cookies, ["own=1; Path=/; HttpOnly"]);
    for removed in [
        "x-hop",
        "keep-alive",
        "clear-site-data",
        "strict-transport-security",
        "alt-svc",
        "nel",
        "report-to",
        "reporting-endpoints",
        "service-worker-allowed",
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "x-accel-redirect",
        "x-sendfile",
    ] {
        assert!(!headers.contains_key(removed), "{removed}");
    }
    assert_eq!(headers["origin-agent-cluster"], "?1");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert_eq!(headers["content-security-policy"], "default-src 'self'");
}

#[tokio::test]
async fn sign_in_headers_of_a_session_never_reach_the_browser() {
    let proxy = TestProxy::with_response(concat!(
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n",
        "WWW-Authenticate: Basic realm=\"sign in again\"\r\nWWW-Authenticate: Bearer\r\n",
        "X-Auth-Request-Email: mallory@example.com\r\nX-Auth-Request-User: mallory\r\n",
        "X_Auth_Request_Groups: admins\r\nX-Auth-Requested: kept\r\n\r\nno",
    ))
    .await;
    let response = proxy.get("/").await;
    assert_eq!(response.status(), 401);
    let names: Vec<_> = response.headers().keys().map(http::HeaderName::as_str).collect();
    let removed =
        |name: &&str| name.replace('_', "-").starts_with("x-auth-request-") || *name == "www-authenticate";
    assert!(!names.iter().any(removed), "{names:?}");
    assert_eq!(response.headers()["x-auth-requested"], "kept");
}

#[tokio::test]
async fn permissions_for_the_sessions_own_origin_are_kept() {
    let proxy = TestProxy::with_response(concat!(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
        "Access-Control-Allow-Origin: https://a48da0606867-oc.example.org\r\n",
        "Service-Worker-Allowed: /app/\r\n\r\nok",
    ))
    .await;
    let response = proxy.get("/app/worker.js").await;
    assert!(response.headers().contains_key("access-control-allow-origin"));
    assert!(response.headers().contains_key("service-worker-allowed"));
}

#[tokio::test]
async fn cors_headers_without_an_origin_are_removed() {
    let proxy = TestProxy::with_response(concat!(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
        "Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Methods: *\r\n\r\nok",
    ))
    .await;
    let response = proxy.get("/").await;
    assert!(!response.headers().keys().any(|name| name.as_str().starts_with("access-control-")));
}

#[tokio::test]
async fn a_service_workers_scope_is_at_most_its_folder() {
    for (scope, is_kept) in [
        ("/app/", true),
        ("/app/v1.2/..x/", true),
        ("/", false),
        ("/apples", false),
        ("/app/..", false),
        ("/app/../", false),
        ("/app/%2e%2E/", false),
        ("/app/x/.%2e/../", false),
        ("/app/..\\", false),
        ("https://a48da0606867-oc.example.org/", false),
    ] {
        let response =
            format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nService-Worker-Allowed: {scope}\r\n\r\nok");
        let proxy = TestProxy::with_response(response.leak()).await;
        let response = proxy.get("/app/worker.js").await;
        assert_eq!(response.headers().contains_key("service-worker-allowed"), is_kept, "{scope}");
    }
}

#[tokio::test]
async fn the_debug_output_of_an_upstream_hides_its_password() {
    let upstream = proxy_core::Upstream::new("127.0.0.1:1".parse().unwrap())
        .with_authorization(Some(http::HeaderValue::from_static("Basic c2VjcmV0")));
    assert!(!format!("{upstream:?}").contains("c2VjcmV0"));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn headers_that_connection_lists_are_never_forwarded(
            names in prop::collection::vec("x-[a-z]{1,8}", 1..6),
            split in 0usize..6,
            spaces in " {0,2}",
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (first, second) = names.split_at(split.min(names.len()));
            let head = runtime.block_on(forwarded_head(|mut request| {
                for list in [first, second] {
                    if !list.is_empty() {
                        request = request.header("Connection", list.join(&format!("{spaces},{spaces}")));
                    }
                }
                for name in &names {
                    request = request.header(name, "listed");
                }
                request.header("x-0-other", "kept")
            }));
            prop_assert!(!head.contains("listed"), "{}", head);
            prop_assert!(head.contains("x-0-other: kept"));
        }
    }
}

#[tokio::test]
async fn a_request_without_an_identity_is_refused_first() {
    let proxy = TestProxy::with_response(OK).await;
    let request = Request::get("/").header("host", HOST).body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(proxy.send(request).await.status(), 401);
    assert!(proxy.activities().is_empty());
}
