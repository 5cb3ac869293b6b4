//! The headers of a forwarded request: what is removed and what the router adds.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::hop_by_hop::{self, is_hop_by_hop};
use crate::{
    cookies::Cookies,
    headers::{is_identity_header, normalize_name},
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Values that the router itself puts into the headers.
pub(super) struct OwnHeaders<'a> {
    pub(super) peer: Option<SocketAddr>,
    pub(super) host: &'a HeaderValue,
    pub(super) proto: &'static str,
    pub(super) authorization: Option<HeaderValue>,
}

/// Removes the headers that the session must not see, and adds the router's own.
pub(super) fn scrub(headers: &mut HeaderMap, cookies: &Cookies, own: OwnHeaders<'_>) {
    let peer = own.peer.and_then(|peer| value_of(peer.ip().to_canonical()));
    // One walk decides which of the steps below are needed: most requests need few.
    let mut unwanted = Vec::new();
    let (mut has_connection, mut has_te, mut has_cookie) = (false, false, false);
    for name in headers.keys() {
        match name.as_str() {
            "connection" => has_connection = true,
            "cookie" => has_cookie = true,
            "te" => has_te = true,
            // Replaced below.
            "x-forwarded-host" | "x-forwarded-port" | "x-forwarded-proto" => {}
            "x-forwarded-for" if peer.is_some() => {}
            other if is_hop_by_hop(other) || is_unwanted(other) => unwanted.push(name.clone()),
            _ => {}
        }
    }
    let trailers = has_te && accepts_trailers(headers);
    if has_te {
        headers.remove(header::TE);
    }
    if has_connection {
        hop_by_hop::remove_connection(headers);
    }
    for name in unwanted {
        headers.remove(name);
    }
    if has_cookie {
        cookies.strip_from_request(headers);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if let Some(peer) = peer {
        headers.insert(X_FORWARDED_FOR, peer);
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(own.proto));
    headers.insert(X_FORWARDED_HOST, own.host.clone());
    headers.insert(X_FORWARDED_PORT, port_of(own.host, own.proto));
    // Exactly one, even if no `HostRouter` comes before `Forward`.
    headers.insert(header::HOST, own.host.clone());
    if let Some(authorization) = own.authorization {
        headers.insert(header::AUTHORIZATION, authorization);
    }
}

/// Whether only the router may set or read the header: it is about the client or the user, or holds a secret
/// of the router.
fn is_unwanted(name: &str) -> bool {
    match name.as_bytes() {
        [b'a', ..] => name == "authorization",
        [b'f', ..] => name == "forwarded",
        // Only names that begin like this are worth a look at all of their letters.
        [b'c', b'f', ..] | [b'r', b'e', b'm', ..] | [b't', b'r', b'u', ..] | [b'x', ..] => {
            let name = normalize_name(name);
            matches!(
                &*name,
                "cf-connecting-ip"
                    | "true-client-ip"
                    | "x-admin-secret"
                    | "x-real-ip"
                    | "x-router-proxy-secret"
            ) || name.starts_with("x-forwarded-")
                || is_identity_header(&name)
        }
        _ => false,
    }
}

/// Whether `TE` lists `trailers`, the only option that may be passed on (RFC 9110 §10.1.4).
fn accepts_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::TE).iter();
    values
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Returns the address as text. IPv4 is formatted by hand: `to_string` would take a tenth of this module's
/// time.
fn value_of(address: IpAddr) -> Option<HeaderValue> {
    let IpAddr::V4(address) = address else { return HeaderValue::from_str(&address.to_string()).ok() };
    let mut text = [0; 15];
    let mut length = 0;
    let mut push = |byte| {
        text[length] = byte;
        length += 1;
    };
    for (at, octet) in address.octets().into_iter().enumerate() {
        if at > 0 {
            push(b'.');
        }
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
    }
    HeaderValue::from_bytes(&text[..length]).ok()
}

fn port_of(host: &HeaderValue, proto: &str) -> HeaderValue {
    let port = host.to_str().ok().and_then(|host| host.rsplit_once(':')).map(|(_, port)| port);
    match port.filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && !port.is_empty()) {
        Some(port) => HeaderValue::from_str(port).unwrap_or_else(|_| HeaderValue::from_static("443")),
        None => HeaderValue::from_static(if proto == "http" { "80" } else { "443" }),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::value_of;

    proptest! {
        #[test]
        fn an_address_is_formatted_as_by_display(octets in any::<[u8; 4]>(), six in any::<u128>()) {
            for address in [Ipv4Addr::from(octets).into(), IpAddr::from(six.to_be_bytes())] {
                let value = value_of(address).unwrap();
                prop_assert_eq!(value.to_str().unwrap(), address.to_string());
            }
        }
    }
}
