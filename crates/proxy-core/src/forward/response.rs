//! What of a session's response reaches the browser: nothing that could act on more than the session's own host.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::hop;
use crate::cookies::Cookies;

/// Headers by which a host speaks for its whole site, its port's neighbours, or its future.
const REFUSED: [HeaderName; 10] = [
    HeaderName::from_static("clear-site-data"),
    header::STRICT_TRANSPORT_SECURITY,
    header::ALT_SVC,
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("reporting-endpoints"),
    header::PUBLIC_KEY_PINS,
    header::PUBLIC_KEY_PINS_REPORT_ONLY,
    HeaderName::from_static("expect-ct"),
    header::PROXY_AUTHENTICATE,
];
const SERVICE_WORKER_ALLOWED: HeaderName = HeaderName::from_static("service-worker-allowed");
const ORIGIN_AGENT_CLUSTER: HeaderName = HeaderName::from_static("origin-agent-cluster");
const CORS: [HeaderName; 7] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    HeaderName::from_static("access-control-allow-private-network"),
];

/// Makes the headers those that may pass. `path` is the request's; `host` its own host.
pub(super) fn scrub(headers: &mut HeaderMap, cookies: &Cookies, path: &str, host: &HeaderValue) {
    hop::strip(headers);
    for name in REFUSED {
        headers.remove(name);
    }
    cookies.strip_from_response(headers);
    if !allows_own_origin_only(headers, host) {
        for name in CORS {
            headers.remove(name);
        }
    }
    // Without the header a worker rules the folder of its script; more than that it does not get.
    let folder = path.rfind('/').map_or("/", |slash| &path[..=slash]);
    let mut scopes = headers.get_all(SERVICE_WORKER_ALLOWED).iter();
    let wider = scopes.any(|scope| scope.to_str().map_or(true, |scope| !scope.starts_with(folder)));
    if wider {
        headers.remove(SERVICE_WORKER_ALLOWED);
    }
    headers.insert(ORIGIN_AGENT_CLUSTER, HeaderValue::from_static("?1"));
}

fn allows_own_origin_only(headers: &HeaderMap, host: &HeaderValue) -> bool {
    let mut allowed = headers.get_all(header::ACCESS_CONTROL_ALLOW_ORIGIN).iter();
    let own = |origin: &HeaderValue| {
        origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host.as_bytes())
            == Some(host.as_bytes())
    };
    allowed.next().is_some_and(own) && allowed.next().is_none()
}
