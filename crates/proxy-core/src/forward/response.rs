//! The headers of a session's response: those that could affect more than the session's own host are removed.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::hop_by_hop::{self, is_hop_by_hop};
use crate::{
    cookies::Cookies,
    headers::{normalize_name, remove_headers},
};

const SERVICE_WORKER_ALLOWED: HeaderName = HeaderName::from_static("service-worker-allowed");
const ORIGIN_AGENT_CLUSTER: HeaderName = HeaderName::from_static("origin-agent-cluster");

/// Removes the headers that must not reach the browser. `path` and `host` are those of the request. `origin`
/// is the request's, if it is of the same session.
pub(super) fn scrub(
    headers: &mut HeaderMap,
    cookies: &Cookies,
    path: &str,
    host: &HeaderValue,
    origin: Option<&HeaderValue>,
) {
    // One walk decides which of the steps below are needed: most responses need none.
    let mut unwanted = Vec::new();
    let (mut has_connection, mut has_cookie, mut has_worker, mut has_access_control) =
        (false, false, false, false);
    for name in headers.keys() {
        match name.as_str() {
            "connection" => has_connection = true,
            "set-cookie" => has_cookie = true,
            "service-worker-allowed" => has_worker = true,
            "transfer-encoding" => {
                // The chunks determine the length (RFC 9112 §6.3).
                unwanted.extend([header::TRANSFER_ENCODING, header::CONTENT_LENGTH]);
            }
            other if is_hop_by_hop(other) || is_refused(other) => unwanted.push(name.clone()),
            other => has_access_control |= other.starts_with("access-control-"),
        }
    }
    if has_access_control && !allows_own_origin_only(headers, host, origin) {
        remove_headers(headers, |name| name.starts_with("access-control-"));
    }
    if has_connection {
        hop_by_hop::remove_connection(headers);
    }
    for name in unwanted {
        headers.remove(name);
    }
    if has_cookie {
        cookies.strip_from_response(headers);
    }
    if has_worker {
        // Without the header a worker's scope is the folder of its script; it never gets a larger one.
        let folder = path.rfind('/').map_or("/", |slash| &path[..=slash]);
        let mut scopes = headers.get_all(SERVICE_WORKER_ALLOWED).iter();
        if scopes.any(|scope| scope.to_str().map_or(true, |scope| !is_within(scope, folder))) {
            headers.remove(SERVICE_WORKER_ALLOWED);
        }
    }
    headers.insert(ORIGIN_AGENT_CLUSTER, HeaderValue::from_static("?1"));
}

/// Whether the header affects other hosts, other ports or later visits, instructs the proxies in front of the
/// router, or asks for or asserts a sign-in.
fn is_refused(name: &str) -> bool {
    // The first letter rules out most names.
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
        ) || (name.starts_with('x') && normalize_name(name).starts_with("x-auth-request-")))
}

/// Whether the path stays in the folder, as browsers read it: `%2e` is a dot, `\\` a slash.
fn is_within(scope: &str, folder: &str) -> bool {
    let normalized = scope.to_ascii_lowercase().replace("%2e", ".");
    scope.starts_with(folder) && !normalized.split(['/', '\\']).any(|part| part == "..")
}

fn allows_own_origin_only(headers: &HeaderMap, host: &HeaderValue, other: Option<&HeaderValue>) -> bool {
    let mut allowed = headers.get_all(header::ACCESS_CONTROL_ALLOW_ORIGIN).iter();
    let own = |origin: &HeaderValue| {
        other == Some(origin)
            || origin
                .to_str()
                .ok()
                .and_then(|origin| origin.split_once("://"))
                .map(|(_, host)| host.as_bytes())
                == Some(host.as_bytes())
    };
    allowed.next().is_some_and(own) && allowed.next().is_none()
}
