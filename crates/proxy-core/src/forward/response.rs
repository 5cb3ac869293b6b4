//! What of a session's response reaches the browser: nothing that could act on more than the session's own host.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::hop;
use crate::{cookies::Cookies, identity::normalize_name};

const SERVICE_WORKER_ALLOWED: HeaderName = HeaderName::from_static("service-worker-allowed");
const ORIGIN_AGENT_CLUSTER: HeaderName = HeaderName::from_static("origin-agent-cluster");

/// Makes the headers those that may pass. `path` is the request's; `host` its own host.
pub(super) fn scrub(headers: &mut HeaderMap, cookies: &Cookies, path: &str, host: &HeaderValue) {
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let shared = !allows_own_origin_only(headers, host);
    hop::strip(headers, |name| {
        is_refused(name)
            || (shared && name.starts_with("access-control-"))
            // The chunks say how long it is (RFC 9112 §6.3).
            || (chunked && name == "content-length")
    });
    cookies.strip_from_response(headers);
    if headers.contains_key(SERVICE_WORKER_ALLOWED) {
        // Without the header a worker rules the folder of its script; more than that it does not get.
        let folder = path.rfind('/').map_or("/", |slash| &path[..=slash]);
        let mut scopes = headers.get_all(SERVICE_WORKER_ALLOWED).iter();
        if scopes.any(|scope| scope.to_str().map_or(true, |scope| !is_within(scope, folder))) {
            headers.remove(SERVICE_WORKER_ALLOWED);
        }
    }
    headers.insert(ORIGIN_AGENT_CLUSTER, HeaderValue::from_static("?1"));
}

/// Headers by which a host speaks for its whole site, its port's neighbours or its future, gives orders to the proxies
/// before it, or asks for or asserts a sign-in.
fn is_refused(name: &str) -> bool {
    // Most names are told by their first letter.
    name.starts_with(['a', 'c', 'e', 'n', 'p', 'r', 's', 'w', 'x'])
        && (matches!(
            name,
            "alt-svc"
                | "clear-site-data"
                | "expect-ct"
                | "nel"
                | "public-key-pins"
                | "public-key-pins-report-only"
                | "report-to"
                | "reporting-endpoints"
                | "strict-transport-security"
                | "www-authenticate"
                | "x-accel-redirect"
                | "x-lighttpd-send-file"
                | "x-reproxy-url"
                | "x-sendfile"
        ) || normalize_name(name).starts_with("x-auth-request-"))
}

/// Whether a path stays in the folder, read as browsers read it: `%2e` is a dot, `\\` a slash.
fn is_within(scope: &str, folder: &str) -> bool {
    let plain = scope.to_ascii_lowercase().replace("%2e", ".");
    scope.starts_with(folder) && !plain.split(['/', '\\']).any(|part| part == "..")
}

fn allows_own_origin_only(headers: &HeaderMap, host: &HeaderValue) -> bool {
    let mut allowed = headers.get_all(header::ACCESS_CONTROL_ALLOW_ORIGIN).iter();
    let own = |origin: &HeaderValue| {
        origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host.as_bytes())
            == Some(host.as_bytes())
    };
    allowed.next().is_some_and(own) && allowed.next().is_none()
}
