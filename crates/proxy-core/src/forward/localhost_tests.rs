use super::*;

const PUBLIC: &str = "5173-a48da0606867-oc.example.org";

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn names_at(host: &str, proto: &'static str, request: &HeaderMap) -> LocalhostNames {
    let server = "10.1.2.3:5173".parse().unwrap();
    LocalhostNames::new(server, &HeaderValue::from_str(host).unwrap(), proto, request).unwrap()
}

/// Maps a request's header.
fn request(name: &'static str, value: &str) -> String {
    let mut headers = headers(&[(name, value)]);
    names_at(PUBLIC, "https", &headers).map_request(&mut headers);
    headers[name].to_str().unwrap().to_owned()
}

/// Maps a response's header.
fn response(name: &'static str, value: &str) -> String {
    response_at(PUBLIC, "https", name, value)
}

fn response_at(host: &str, proto: &'static str, name: &'static str, value: &str) -> String {
    let mut headers = headers(&[(name, value)]);
    names_at(host, proto, &HeaderMap::new()).map_response(&mut headers);
    headers[name].to_str().unwrap().to_owned()
}

#[test]
fn a_server_sees_its_own_names() {
    assert_eq!(request("host", PUBLIC), "localhost:5173");
    assert_eq!(request("origin", &format!("https://{PUBLIC}")), "http://localhost:5173");
    assert_eq!(request("referer", &format!("https://{PUBLIC}/a?b#c")), "http://localhost:5173/a?b#c");
    // Another server of the session.
    let sibling = "https://8080-A48da0606867-oc.example.org:443";
    assert_eq!(request("origin", sibling), "http://localhost:8080");
}

#[test]
fn names_of_others_stay_as_they_are() {
    for origin in [
        "null",
        "https://example.org",
        "https://a48da0606867-oc.example.org",
        "https://8080-b48da0606867-oc.example.org",
        "https://80-a48da0606867-oc.example.org",
        "https://08080-a48da0606867-oc.example.org",
        "https://8080-a48da0606867-oc.example.org.evil.example",
    ] {
        assert_eq!(request("origin", origin), origin);
    }
}

#[test]
fn addresses_of_the_server_become_public() {
    for (local, public) in [
        ("http://localhost:5173/a?b", "https://5173-a48da0606867-oc.example.org/a?b"),
        ("http://LOCALHOST:5173", "https://5173-a48da0606867-oc.example.org"),
        ("https://127.0.0.1:5173/", "https://5173-a48da0606867-oc.example.org/"),
        ("http://0.0.0.0:5173/", "https://5173-a48da0606867-oc.example.org/"),
        ("http://[::1]:5173/", "https://5173-a48da0606867-oc.example.org/"),
        ("http://10.1.2.3:5173/", "https://5173-a48da0606867-oc.example.org/"),
        ("//localhost:5173/a", "//5173-a48da0606867-oc.example.org/a"),
        ("http://localhost:8080/login", "https://8080-a48da0606867-oc.example.org/login"),
    ] {
        assert_eq!(response("location", local), public);
        assert_eq!(response("content-location", local), public);
        assert_eq!(response("refresh", &format!("5; URL={local}")), format!("5; URL={public}"));
        assert_eq!(response("refresh", &format!("0;url='{local}'")), format!("0;url='{public}'"));
    }
}

#[test]
fn other_addresses_stay_as_they_are() {
    for address in [
        "/login",
        "login",
        "",
        "http://localhost/",
        "http://localhost:80/",
        "http://user@localhost:5173/",
        "http://localhost:99999/",
        "http://10.1.2.4:5173/",
        "http://localhost.example.org:5173/",
        "ftp://localhost:5173/",
        "https://5173-b48da0606867-oc.example.org/",
    ] {
        assert_eq!(response("location", address), address);
    }
    assert_eq!(response("refresh", "5"), "5");
}

#[test]
fn a_host_that_does_not_name_its_port_is_mapped_alone() {
    let map = |location| response_at("app.example.org:8443", "https", "location", location);
    assert_eq!(map("http://localhost:5173/a"), "https://app.example.org:8443/a");
    assert_eq!(map("http://localhost:8080/a"), "http://localhost:8080/a");
}

#[test]
fn cookies_for_localhost_become_cookies_of_the_public_host() {
    let cookie = |value: &str| response("set-cookie", value);
    assert_eq!(cookie("a=b; Domain=localhost; Path=/"), "a=b; Path=/");
    assert_eq!(cookie("a=b; domain=.127.0.0.1"), "a=b");
    assert_eq!(cookie(&format!("a=b; Domain={PUBLIC}; Secure")), "a=b; Secure");
    assert_eq!(
        cookie("a=Domain=localhost; Secure; SameSite=None"),
        "a=Domain=localhost; Secure; SameSite=None"
    );
    // `Cookies` removes this one.
    assert_eq!(cookie("a=b; Domain=example.org"), "a=b; Domain=example.org");
}

#[test]
fn secure_cookies_work_without_tls_as_on_localhost() {
    let secure = "a=b; Secure; HttpOnly; SameSite=None";
    let at = |host, proto| response_at(host, proto, "set-cookie", secure);
    assert_eq!(at("5173-a48da0606867.lan:3000", "http"), "a=b; HttpOnly; SameSite=Lax");
    assert_eq!(at("5173-a48da0606867.localhost:3000", "http"), secure);
    assert_eq!(at("5173-a48da0606867.lan", "https"), secure);
}

#[test]
fn a_page_of_the_session_reads_what_the_server_allows_its_local_name() {
    let origin = "https://3000-a48da0606867-oc.example.org";
    let allowed = |origin: &str, value: &'static str| {
        let request = headers(&[("origin", origin)]);
        let mut response =
            headers(&[("access-control-allow-origin", value), ("access-control-allow-credentials", "true")]);
        names_at(PUBLIC, "https", &request).map_response(&mut response);
        (
            response["access-control-allow-origin"].to_str().unwrap().to_owned(),
            response.contains_key("access-control-allow-credentials"),
        )
    };
    assert_eq!(allowed(origin, "http://localhost:3000"), (origin.to_owned(), true));
    assert_eq!(allowed(origin, "*"), (origin.to_owned(), false));
    assert_eq!(allowed(origin, "http://localhost:3001"), ("http://localhost:3001".to_owned(), true));
    let foreign = "https://3000-b48da0606867-oc.example.org";
    assert_eq!(allowed(foreign, "*"), ("*".to_owned(), true));
}

#[test]
fn the_public_names_do_not_contradict_the_local_ones() {
    let mut headers = headers(&[("x-forwarded-host", PUBLIC), ("x-forwarded-proto", "https")]);
    names_at(PUBLIC, "https", &headers).map_request(&mut headers);
    assert!(!headers.keys().any(|name| name.as_str().starts_with("x-forwarded-")));
}
