//! A dev server's names. The server believes that it is at `localhost:<port>`, as on its developer's machine;
//! browsers know it by the public host of its port. Requests are mapped to the former, responses to the
//! latter.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::port_hosts::{authority_of, path_of, port_of_sibling, same_host, sibling_host};

const REFRESH: HeaderName = HeaderName::from_static("refresh");
/// They would contradict `Host` and `Origin`: frameworks that compare `Origin` with `X-Forwarded-Host` (Next,
/// Rails) refuse a request in which only one of them is the public name.
const PUBLIC_NAMES: [HeaderName; 3] = [
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
];

/// Maps the names of one dev server and of the other servers of its session.
pub(super) struct LocalhostNames {
    server: SocketAddr,
    /// The public `host[:port]`.
    public: String,
    proto: &'static str,
    /// The public origin of the page that sent the request, if it is a page of the session's dev servers.
    origin: Option<HeaderValue>,
}

impl LocalhostNames {
    /// `host` is the public host of the server. Returns `None` if it is not text.
    pub(super) fn new(
        server: SocketAddr,
        host: &HeaderValue,
        proto: &'static str,
        headers: &HeaderMap,
    ) -> Option<Self> {
        let mut names = Self { server, public: host.to_str().ok()?.to_owned(), proto, origin: None };
        let origin = headers.get(header::ORIGIN);
        names.origin = origin.filter(|&origin| names.local_address(origin).is_some()).cloned();
        Some(names)
    }

    /// Maps the headers of a request.
    pub(super) fn map_request(&self, headers: &mut HeaderMap) {
        for name in &PUBLIC_NAMES {
            headers.remove(name);
        }
        if let Ok(host) = HeaderValue::try_from(format!("localhost:{}", self.server.port())) {
            headers.insert(header::HOST, host);
        }
        for name in [header::ORIGIN, header::REFERER] {
            if let Some(local) = headers.get(&name).and_then(|value| self.local_address(value)) {
                headers.insert(name, local);
            }
        }
    }

    /// Maps the headers of a response.
    pub(super) fn map_response(&self, headers: &mut HeaderMap) {
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            let public = headers.get(&name).and_then(|value| self.public_address(value.to_str().ok()?));
            if let Some(public) = public.and_then(|public| HeaderValue::try_from(public).ok()) {
                headers.insert(name, public);
            }
        }
        if let Some(refresh) = headers.get(REFRESH).and_then(|value| self.map_refresh(value)) {
            headers.insert(REFRESH, refresh);
        }
        self.map_allowed_origin(headers);
        self.map_cookies(headers);
    }

    /// Returns the origin that the response may allow to read it.
    pub(super) fn origin(&self) -> Option<&HeaderValue> {
        self.origin.as_ref()
    }

    /// Returns the server's own address for a public one of this server or of another one of its session.
    fn local_address(&self, address: &HeaderValue) -> Option<HeaderValue> {
        let address = address.to_str().ok()?;
        let (host, path) = (authority_of(address)?, path_of(address)?);
        let own = self.server.port();
        let port =
            if same_host(host, &self.public) { own } else { port_of_sibling(&self.public, own, host)? };
        HeaderValue::try_from(format!("http://localhost:{port}{path}")).ok()
    }

    /// Returns the public address for one of this server, or of another one of its session.
    fn public_address(&self, address: &str) -> Option<String> {
        let is_relative = address.starts_with("//");
        let absolute = if is_relative { format!("{}:{address}", self.proto) } else { address.to_owned() };
        let scheme = absolute.split_once("://")?.0.to_ascii_lowercase();
        let (host, path) = (authority_of(&absolute)?, path_of(&absolute)?);
        let (name, port) = host.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        if !matches!(&*scheme, "http" | "https") || !self.is_local(name) {
            return None;
        }
        let public = if port == self.server.port() {
            self.public.clone()
        } else {
            sibling_host(&self.public, self.server.port(), port)?
        };
        Some(if is_relative {
            format!("//{public}{path}")
        } else {
            format!("{}://{public}{path}", self.proto)
        })
    }

    /// Whether the name leads to this machine, as the server sees it.
    fn is_local(&self, name: &str) -> bool {
        let address = name.trim_matches(['[', ']']).parse::<IpAddr>().map(|address| address.to_canonical());
        match address {
            Ok(address) => {
                address.is_loopback()
                    || address.is_unspecified()
                    || address == self.server.ip().to_canonical()
            }
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        }
    }

    /// `5; url=http://localhost:5173/`
    fn map_refresh(&self, value: &HeaderValue) -> Option<HeaderValue> {
        let text = value.to_str().ok()?;
        let at = text.to_ascii_lowercase().find("url=")? + "url=".len();
        let (before, address) = text.split_at(at);
        let quote = address.chars().next().filter(|quote| matches!(quote, '\'' | '"'));
        let address = address.trim_matches(['\'', '"', ' ']);
        let quote = quote.map(String::from).unwrap_or_default();
        let public = self.public_address(address)?;
        HeaderValue::try_from(format!("{before}{quote}{public}{quote}")).ok()
    }

    /// Names the page's origin where the server allows its local name, or any.
    fn map_allowed_origin(&self, headers: &mut HeaderMap) {
        let Some(origin) = &self.origin else { return };
        let Some(allowed) = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN) else { return };
        let is_wildcard = allowed == "*";
        if is_wildcard || self.local_address(origin).as_ref() == Some(allowed) {
            if is_wildcard {
                // A wildcard does not allow credentials.
                headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
            }
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
    }

    /// Makes cookies for `localhost` cookies of the public host. A browser accepts `Secure` on
    /// `http://localhost`, and on no other host without TLS.
    fn map_cookies(&self, headers: &mut HeaderMap) {
        if !headers.contains_key(header::SET_COOKIE) {
            return;
        }
        let cookies: Vec<HeaderValue> =
            headers.get_all(header::SET_COOKIE).iter().map(|cookie| self.map_cookie(cookie)).collect();
        headers.remove(header::SET_COOKIE);
        for cookie in cookies {
            headers.append(header::SET_COOKIE, cookie);
        }
    }

    fn map_cookie(&self, cookie: &HeaderValue) -> HeaderValue {
        let Ok(text) = cookie.to_str() else { return cookie.clone() };
        let public_name = self.public.rsplit_once(':').map_or(&*self.public, |(name, _)| name);
        let is_trustworthy = self.proto == "https"
            || public_name.eq_ignore_ascii_case("localhost")
            || public_name.to_ascii_lowercase().ends_with(".localhost");
        let mut parts: Vec<&str> = Vec::new();
        for (index, part) in text.split(';').enumerate() {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (name.trim(), value.trim());
            if index == 0 {
                parts.push(part);
            } else if name.eq_ignore_ascii_case("domain") {
                let domain = value.strip_prefix('.').unwrap_or(value);
                if !self.is_local(domain) && !domain.eq_ignore_ascii_case(public_name) {
                    parts.push(part);
                }
            } else if is_trustworthy || !name.eq_ignore_ascii_case("secure") {
                let is_none = name.eq_ignore_ascii_case("samesite") && value.eq_ignore_ascii_case("none");
                // `None` requires `Secure`.
                parts.push(if is_none && !is_trustworthy { " SameSite=Lax" } else { part });
            }
        }
        HeaderValue::try_from(parts.join(";")).unwrap_or_else(|_| cookie.clone())
    }
}

#[cfg(test)]
#[path = "localhost_tests.rs"]
mod tests;
