//! Hop-by-hop headers (RFC 9110 §7.6.1), which are meant for one connection only.

use http::{HeaderMap, HeaderName, header};

/// Whether the header, which is not `Connection`, is meant for one connection only. `Trailer` is not: it
/// describes the body.
pub(super) fn is_hop_by_hop(name: &str) -> bool {
    // The first letter rules out most names.
    name.starts_with(['k', 'p', 't', 'u'])
        && matches!(
            name,
            "keep-alive"
                | "proxy-authenticate"
                | "proxy-authorization"
                | "proxy-connection"
                | "te"
                | "transfer-encoding"
                | "upgrade"
        )
}

/// Removes `Connection` and the headers that it lists.
pub(super) fn remove_connection(headers: &mut HeaderMap) {
    for name in connection_options(headers) {
        headers.remove(name);
    }
    headers.remove(header::CONNECTION);
}

/// Returns the header names that `Connection` lists, without `Host` and `Content-Length`: the request needs
/// those.
fn connection_options(headers: &HeaderMap) -> Vec<HeaderName> {
    let options = headers.get_all(header::CONNECTION).iter();
    options
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        // The most frequent options name no other header.
        .filter(|option| {
            !option.eq_ignore_ascii_case(b"keep-alive") && !option.eq_ignore_ascii_case(b"close")
        })
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect()
}
