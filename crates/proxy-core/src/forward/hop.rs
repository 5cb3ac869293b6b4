//! Hop-by-hop headers (RFC 9110 §7.6.1): they speak to the next hop only.

use http::{HeaderMap, HeaderName, header};

use crate::identity::remove_headers;

/// Removes the hop-by-hop headers, whatever each `Connection` header names, and what else is `unwanted`. `Trailer`
/// stays: it describes the body.
pub(super) fn strip(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    if headers.contains_key(header::CONNECTION) {
        for name in connection_options(headers) {
            headers.remove(name);
        }
    }
    remove_headers(headers, |name| is_hop_by_hop(name) || unwanted(name));
}

fn is_hop_by_hop(name: &str) -> bool {
    // Most names are told by their first letter.
    name.starts_with(['c', 'k', 'p', 't', 'u'])
        && matches!(
            name,
            "connection"
                | "keep-alive"
                | "proxy-authenticate"
                | "proxy-authorization"
                | "proxy-connection"
                | "te"
                | "transfer-encoding"
                | "upgrade"
        )
}

/// The header names that the `Connection` headers list. `Host` and the framing are never ours to lose.
fn connection_options(headers: &HeaderMap) -> Vec<HeaderName> {
    let options = headers.get_all(header::CONNECTION).iter();
    options
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        // By far the most frequent ones, which go anyway.
        .filter(|option| {
            !option.eq_ignore_ascii_case(b"keep-alive") && !option.eq_ignore_ascii_case(b"close")
        })
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect()
}

/// Whether `Connection: upgrade` and `Upgrade` ask for another protocol (RFC 9110 §7.8).
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
        && headers.get_all(header::CONNECTION).iter().any(|value| {
            value
                .as_bytes()
                .split(|&byte| byte == b',')
                .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
        })
}
