//! Trailers: fields that follow a body. Programs that merge them into the headers must not learn from them
//! what no header may say, so the rules for headers hold for them too, in both directions.

use http_body::Frame;

use crate::headers::{is_identity_header, normalize_name, remove_headers};

/// Removes the fields that no trailer may be, if the frame has trailers: those about the message's framing,
/// its routing, its sender, how to read its content or how to treat its response (RFC 9110 §6.5.1).
pub(crate) fn scrub<D, E>(frame: &mut Option<Result<Frame<D>, E>>) {
    if let Some(Ok(frame)) = frame
        && let Some(trailers) = frame.trailers_mut()
    {
        remove_headers(trailers, |name| is_forbidden(&normalize_name(name)));
    }
}

fn is_forbidden(name: &str) -> bool {
    const PREFIXES: [&str; 10] = [
        "access-control-",
        "content-",
        "cross-origin-",
        "if-",
        "proxy-",
        "sec-",
        "x-accel-",
        "x-content-",
        "x-forwarded-",
        "x-lighttpd-",
    ];
    match name {
        // Only the whole content shows them (RFC 9530).
        "content-digest" | "content-md5" => false,
        "age"
        | "alt-svc"
        | "authorization"
        | "cache-control"
        | "cf-connecting-ip"
        | "clear-site-data"
        | "connection"
        | "cookie"
        | "date"
        | "expect"
        | "expect-ct"
        | "expires"
        | "forwarded"
        | "host"
        | "keep-alive"
        | "location"
        | "max-forwards"
        | "nel"
        | "origin"
        | "origin-agent-cluster"
        | "permissions-policy"
        | "pragma"
        | "public-key-pins"
        | "range"
        | "referer"
        | "referrer-policy"
        | "refresh"
        | "report-to"
        | "reporting-endpoints"
        | "retry-after"
        | "service-worker-allowed"
        | "set-cookie"
        | "strict-transport-security"
        | "te"
        | "trailer"
        | "transfer-encoding"
        | "true-client-ip"
        | "upgrade"
        | "vary"
        | "warning"
        | "www-authenticate"
        | "x-admin-secret"
        | "x-frame-options"
        | "x-real-ip"
        | "x-reproxy-url"
        | "x-router-proxy-secret"
        | "x-sendfile" => true,
        _ => PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || is_identity_header(name),
    }
}
