//! Cookies that sessions neither see nor set: the sign-in proxy's and the router's own.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

/// Names of cookies that no session sees or sets.
///
/// A name also covers all names that begin with it and `_`: `_oauth2_proxy` covers the chunks
/// `_oauth2_proxy_0`, `_oauth2_proxy_1` and the `_oauth2_proxy_csrf…` cookies. The prefixes `__Host-` and
/// `__Secure-` are ignored.
#[derive(Debug, Clone)]
pub struct Cookies {
    names: Vec<Box<str>>,
}

impl Default for Cookies {
    /// Guards the cookies of oauth2-proxy and of Cloudflare Access.
    fn default() -> Self {
        Self::new(["_oauth2_proxy", "CF_Authorization", "CF_AppSession"])
    }
}

impl Cookies {
    /// Guards the cookies of these names.
    pub fn new<N: Into<Box<str>>>(names: impl IntoIterator<Item = N>) -> Self {
        Self { names: names.into_iter().map(Into::into).collect() }
    }

    fn guards(&self, cookie: &[u8]) -> bool {
        let name =
            cookie.strip_prefix(b"__Host-").or_else(|| cookie.strip_prefix(b"__Secure-")).unwrap_or(cookie);
        self.names.iter().any(|guarded| {
            name.strip_prefix(guarded.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'_')
        })
    }

    /// Removes the guarded cookies from `Cookie`, and joins several lines into one: HTTP/2 may send a line
    /// for each cookie, HTTP/1.1 allows only one (RFC 9113 §8.2.3).
    pub(crate) fn strip_from_request(&self, headers: &mut HeaderMap) {
        let mut lines = headers.get_all(header::COOKIE).iter();
        let Some(first) = lines.next() else { return };
        if lines.next().is_none() && !pairs(first).any(|pair| self.guards(name(pair))) {
            return;
        }
        let lines = headers.get_all(header::COOKIE);
        let mut kept = Vec::with_capacity(lines.iter().map(|line| line.len() + 2).sum());
        for pair in lines.iter().flat_map(pairs).filter(|pair| !self.guards(name(pair))) {
            if !kept.is_empty() {
                kept.extend_from_slice(b"; ");
            }
            kept.extend_from_slice(pair);
        }
        match HeaderValue::from_maybe_shared(Bytes::from(kept)).ok().filter(|line| !line.is_empty()) {
            Some(line) => drop(headers.insert(header::COOKIE, line)),
            None => drop(headers.remove(header::COOKIE)),
        }
    }

    /// Removes the cookies that a session may not set: those of guarded names, and those for more than its
    /// own host.
    pub(crate) fn strip_from_response(&self, headers: &mut HeaderMap) {
        let refused = |value: &HeaderValue| {
            let mut parts = value.as_bytes().split(|&byte| byte == b';').map(name);
            // A browser sends a cookie without a name as its value alone, which may imitate a guarded one
            // (RFC 6265bis §5.6).
            let guarded = parts.next().is_none_or(|cookie| cookie.is_empty() || self.guards(cookie));
            guarded || parts.any(|attribute| attribute.eq_ignore_ascii_case(b"domain"))
        };
        if !headers.get_all(header::SET_COOKIE).iter().any(refused) {
            return;
        }
        let kept: Vec<HeaderValue> =
            headers.get_all(header::SET_COOKIE).iter().filter(|value| !refused(value)).cloned().collect();
        headers.remove(header::SET_COOKIE);
        for value in kept {
            headers.append(header::SET_COOKIE, value);
        }
    }
}

fn pairs(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|&byte| byte == b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

fn name(pair: &[u8]) -> &[u8] {
    let end = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
    pair[..end].trim_ascii()
}
