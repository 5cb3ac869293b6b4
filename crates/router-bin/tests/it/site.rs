//! The responses for pages and files of the site.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use router_bin::site::{Site, harden};

fn site() -> Site {
    Site::new([
        ("index.html".to_owned(), Bytes::from_static(b"<page>")),
        ("index.html.br".to_owned(), Bytes::from_static(b"br page")),
        ("assets/app-1a2b.js".to_owned(), Bytes::from_static(b"script")),
        ("assets/app-1a2b.js.br".to_owned(), Bytes::from_static(b"br script")),
        ("assets/app-1a2b.js.gz".to_owned(), Bytes::from_static(b"gz script")),
        ("favicon.svg".to_owned(), Bytes::from_static(b"<svg>")),
    ])
}

fn request(method: &Method, path: &str, headers: &[(HeaderName, &str)]) -> Response<Full<Bytes>> {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("a value")))
        .collect();
    site().respond(method, path, &headers)
}

fn get(path: &str, headers: &[(HeaderName, &str)]) -> Response<Full<Bytes>> {
    request(&Method::GET, path, headers)
}

async fn body(response: Response<Full<Bytes>>) -> Bytes {
    response.into_body().collect().await.expect("a body").to_bytes()
}

#[tokio::test]
async fn routes_of_the_application_get_its_page_and_missing_files_do_not() {
    for path in ["/", "/session/a48da0606867", "/anything/else", "/assetsx", "/apiary"] {
        let response = get(path, &[]);
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8", "{path}");
        assert_eq!(body(response).await, "<page>", "{path}");
    }
    for path in [
        "/assets/app-0000.js",
        "/assets/",
        "/assets",
        "/api",
        "/api/",
        "/api/nothing",
        "/favicon.ico",
        "/robots.txt",
        "/.well-known/change-password",
        "/../Cargo.toml",
        "/index.html.gz",
    ] {
        let response = get(path, &[]);
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(body(response).await, "Not found.\n", "{path}");
    }
}

#[test]
fn hashed_assets_are_cached_forever_and_pages_are_revalidated() {
    let cached = |path: &str| get(path, &[]).headers()[header::CACHE_CONTROL].clone();
    assert_eq!(cached("/assets/app-1a2b.js"), "public, max-age=31536000, immutable");
    for path in ["/", "/index.html", "/favicon.svg", "/session/a48da0606867"] {
        assert_eq!(cached(path), "no-cache", "{path}");
    }
    assert_eq!(cached("/nothing.js"), "no-store");
}

#[tokio::test]
async fn the_best_encoding_that_the_client_accepts_is_sent() {
    for (accept, encoding, content) in [
        ("gzip, deflate, br", Some("br"), "br script"),
        ("gzip", Some("gzip"), "gz script"),
        ("br;q=0, gzip;q=0.5", Some("gzip"), "gz script"),
        ("BR", Some("br"), "br script"),
        ("*", Some("br"), "br script"),
        ("*;q=0", None, "script"),
        ("br;q=x", None, "script"),
        ("identity", None, "script"),
        ("", None, "script"),
    ] {
        let response = get("/assets/app-1a2b.js", &[(header::ACCEPT_ENCODING, accept)]);
        let sent = response
            .headers()
            .get(header::CONTENT_ENCODING)
            .map(|value| value.to_str().expect("text").to_owned());
        assert_eq!(sent.as_deref(), encoding, "{accept}");
        assert_eq!(response.headers()[header::VARY], "accept-encoding");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(response.headers()[header::CONTENT_LENGTH], content.len().to_string().as_str());
        assert_eq!(body(response).await, content, "{accept}");
    }
    let svg = get("/favicon.svg", &[(header::ACCEPT_ENCODING, "br")]);
    assert!(
        !svg.headers().contains_key(header::VARY) && !svg.headers().contains_key(header::CONTENT_ENCODING)
    );
}

#[tokio::test]
async fn a_representation_that_the_client_has_is_answered_with_304() {
    let first = get("/", &[(header::ACCEPT_ENCODING, "br")]);
    let tag = first.headers()[header::ETAG].to_str().expect("text").to_owned();
    for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let response = get("/", &[(header::ACCEPT_ENCODING, "br"), (header::IF_NONE_MATCH, &known)]);
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(response.headers()[header::ETAG], tag.as_str());
        assert!(!response.headers().contains_key(header::CONTENT_LENGTH));
        assert_eq!(body(response).await, "");
    }
    // Another encoding is another representation.
    assert_eq!(get("/", &[(header::IF_NONE_MATCH, &tag)]).status(), StatusCode::OK);
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_body_and_other_methods_are_refused() {
    let response = request(&Method::HEAD, "/favicon.svg", &[]);
    assert_eq!(
        (response.status(), response.headers()[header::CONTENT_LENGTH].as_bytes()),
        (StatusCode::OK, &b"5"[..])
    );
    assert_eq!(body(response).await, "");
    let response = request(&Method::POST, "/", &[]);
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()[header::ALLOW], "GET, HEAD");
}

#[test]
fn the_embedded_site_has_a_page() {
    let site = Site::embedded();
    let response = site.respond(&Method::GET, "/", &HeaderMap::new());
    assert_eq!(response.status(), StatusCode::OK);
}

#[test]
fn the_content_security_policy_allows_the_sites_own_files_only() {
    let mut headers = HeaderMap::new();
    harden(&mut headers);
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
    assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
}
