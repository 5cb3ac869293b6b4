//! The host names of sessions and of the site.

use std::{borrow::Cow, net::IpAddr};

use crate::{error::InvalidName, hash::SessionHash};

/// The destination of a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// A session.
    Session(SessionRoute),
    /// The site, with its pages and API: every other name under the domain.
    Site,
    /// A name outside the domain. Answer it with 421 (RFC 9110 §15.5.20) and without content.
    UnknownHost,
}

/// A destination in one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionRoute {
    /// The session.
    pub hash: SessionHash,
    /// The server in the session.
    pub target: Target,
}

/// A server in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The opencode server.
    Opencode,
    /// A dev server that listens on this port (1024–65535).
    Port(u16),
    /// The opencode server, for `opencode attach`.
    Attach,
}

/// The host names of a router:
/// `<hash><suffix>.<domain>`, `<port>-<hash><suffix>.<domain>`, `<attach prefix><hash><suffix>.<domain>`.
///
/// ```
/// use session_key::{HostScheme, Route, SessionHash, SessionRoute, Target};
/// let scheme = HostScheme::new("localhost:3000", "", "attach-")?;
/// let route = SessionRoute { hash: SessionHash::parse("a48da0606867")?, target: Target::Port(5173) };
/// assert_eq!(scheme.render(&route), "5173-a48da0606867.localhost:3000");
/// assert_eq!(scheme.parse("5173-a48da0606867.localhost"), Route::Session(route));
/// assert_eq!(scheme.parse("evil.example"), Route::UnknownHost);
/// # Ok::<(), session_key::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostScheme {
    /// Lower case, without a port.
    domain: String,
    /// `:3000`, or empty.
    port: String,
    suffix: String,
    attach_prefix: String,
    /// Whether the domain is `localhost`, so that loopback addresses reach the site.
    loopback: bool,
}

impl HostScheme {
    /// Creates a scheme for `domain`, with `:port` unless the public port is the protocol's default.
    ///
    /// # Errors
    /// [`InvalidName::Scheme`] if a part contains a character that host names do not allow, if names would be
    /// too long for DNS (63 bytes a label), or if an attach name could be parsed as another kind of name.
    pub fn new(domain: &str, suffix: &str, attach_prefix: &str) -> Result<Self, InvalidName> {
        let invalid = |reason| Err(InvalidName::Scheme(reason));
        let [domain, suffix, attach_prefix] = [domain, suffix, attach_prefix].map(str::to_ascii_lowercase);
        let (name, port) = match domain.split_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => {
                (name, format!(":{port}"))
            }
            Some(_) => return invalid("the domain's port is not a number from 1 to 65535"),
            None => (domain.as_str(), String::new()),
        };
        if !is_name(name) || name.parse::<IpAddr>().is_ok() {
            return invalid("the domain is not a host name");
        }
        if !suffix.bytes().all(|b| is_name_byte(b) || b == b'.')
            || suffix.contains("..")
            || suffix.ends_with(['-', '.'])
        {
            return invalid("the suffix must be letters, digits, '-' and '.', and not end with '-' or '.'");
        }
        if attach_prefix.is_empty()
            || !attach_prefix.bytes().all(is_name_byte)
            || attach_prefix.starts_with('-')
        {
            return invalid("the attach prefix must be letters, digits and '-', and not start with '-'");
        }
        let before_dash = attach_prefix.strip_suffix('-').unwrap_or_default();
        if before_dash.bytes().all(|b| b.is_ascii_digit()) && !before_dash.is_empty() {
            return invalid("the attach prefix looks like a port");
        }
        let longest = attach_prefix.len().max("65535-".len()) + SessionHash::LEN;
        let first_label = longest + suffix.find('.').unwrap_or(suffix.len());
        if first_label > 63 || longest + suffix.len() + 1 + name.len() > 253 {
            return invalid("the names would be too long for DNS");
        }
        let loopback = name == "localhost";
        Ok(Self { domain: name.to_owned(), port, suffix, attach_prefix, loopback })
    }

    /// Parses a `Host` header (or an HTTP/2 `:authority`), ignoring the port, the case and a trailing dot. A
    /// text that is not a host name is [`Route::UnknownHost`]; there are no errors.
    #[must_use]
    pub fn parse(&self, host: &str) -> Route {
        let Some(name) = host_name(host) else { return Route::UnknownHost };
        // An address ends in a digit or a bracket, and few names do.
        let may_be_address = name.ends_with(|end: char| end.is_ascii_digit() || end == ']');
        if may_be_address && let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
            return if self.loopback && address.is_loopback() { Route::Site } else { Route::UnknownHost };
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        if !is_name(name) {
            return Route::UnknownHost;
        }
        let lower: Cow<'_, str> = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => name.to_ascii_lowercase().into(),
            false => name.into(),
        };
        let name = &*lower;
        if name == self.domain {
            return Route::Site;
        }
        match name.strip_suffix(self.domain.as_str()).and_then(|rest| rest.strip_suffix('.')) {
            None => Route::UnknownHost,
            Some(rest) => self.parse_session(rest).map_or(Route::Site, Route::Session),
        }
    }

    /// Returns the host name of a session, with the domain's port. [`HostScheme::parse`] is the inverse.
    #[must_use]
    pub fn render(&self, route: &SessionRoute) -> String {
        let prefix = match route.target {
            Target::Opencode => String::new(),
            Target::Port(port) => format!("{port}-"),
            Target::Attach => self.attach_prefix.clone(),
        };
        format!("{prefix}{}{}.{}{}", route.hash, self.suffix, self.domain, self.port)
    }

    /// Returns the domain, with its port if it has one.
    #[must_use]
    pub fn domain(&self) -> String {
        format!("{}{}", self.domain, self.port)
    }

    fn parse_session(&self, rest: &str) -> Option<SessionRoute> {
        let body = rest.strip_suffix(self.suffix.as_str())?;
        let (prefix, hash) = body.split_at_checked(body.len().checked_sub(SessionHash::LEN)?)?;
        let hash = SessionHash::parse(hash).ok()?;
        let target = match prefix {
            "" => Target::Opencode,
            prefix if prefix == self.attach_prefix => Target::Attach,
            prefix => Target::Port(dev_port(prefix.strip_suffix('-')?)?),
        };
        Some(SessionRoute { hash, target })
    }
}

/// Returns the host of `host[:port]`, with its brackets; `None` if the port is invalid.
fn host_name(host: &str) -> Option<&str> {
    let colon = match host.rfind(']') {
        Some(end) => host[end..].find(':').map(|colon| end + colon),
        None => host.find(':'),
    };
    let Some(colon) = colon else { return Some(host) };
    let port = &host[colon + 1..];
    let valid = port.is_empty() || (port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok());
    valid.then_some(&host[..colon])
}

/// Parses the port of a dev server: a number without sign or leading zero.
fn dev_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|&port: &u16| plain && port >= 1024)
}

fn is_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(is_name_byte))
}

/// Letters, digits and hyphen (RFC 1123 §2.1), and the underscore, which DNS allows as well.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}
