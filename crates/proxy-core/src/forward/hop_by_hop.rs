//! Hop-by-hop headers (RFC 9110 §7.6.1), which are meant for one connection only.

use http::{HeaderMap, HeaderName, header};

use crate::headers::remove_headers;

/// Removes the hop-by-hop headers, those that `Connection` lists, and those that are `unwanted`. `Trailer`
/// stays: it describes the body.
pub(super) fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    if headers.contains_key(header::CONNECTION) {
        for name in connection_options(headers) {
            headers.remove(name);
        }
    }
    remove_headers(headers, |name| is_hop_by_hop(name) || unwanted(name));
}

fn is_hop_by_hop(name: &str) -> bool {
    // The first letter rules out most names.
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
