use std::net::IpAddr;

use crate::{InvalidName, SessionHash};

/// What a host name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// A session's own name.
    Session(SessionRoute),
    /// Every other name under the domain: the site with its pages and API.
    Site,
    /// Not a name of ours. Answer 421 (RFC 9110 §15.5.20), never with content.
    Foreign,
}

/// A way into one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionRoute {
    /// Which session.
    pub hash: SessionHash,
    /// What in it.
    pub target: Target,
}

/// What in a session a host name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The opencode server itself.
    Opencode,
    /// A dev server that listens in the session, on this port (1024–65535).
    Port(u16),
    /// The opencode server, for `opencode attach`.
    Attach,
}

/// The names under which a router is reached:
/// `<hash><suffix>.<domain>`, `<port>-<hash><suffix>.<domain>`, `<attach prefix><hash><suffix>.<domain>`.
///
/// ```
/// use session_key::{HostScheme, Route, SessionHash, SessionRoute, Target};
/// let scheme = HostScheme::new("localhost:3000", "", "attach-")?;
/// let route = SessionRoute { hash: SessionHash::parse("a48da0606867")?, target: Target::Port(5173) };
/// assert_eq!(scheme.render(&route), "5173-a48da0606867.localhost:3000");
/// assert_eq!(scheme.parse("5173-a48da0606867.localhost"), Route::Session(route));
/// assert_eq!(scheme.parse("evil.example"), Route::Foreign);
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
    /// The domain is `localhost`: loopback addresses reach the site.
    loopback: bool,
}

impl HostScheme {
    /// A scheme for `domain` (with `:port` where the public one is not the protocol's own).
    ///
    /// # Errors
    /// [`InvalidName::Scheme`] where a part is not made of host-name characters, the names would be too
    /// long for DNS (63 bytes a label), or an attach name could be read as another kind of name.
    pub fn new(domain: &str, suffix: &str, attach_prefix: &str) -> Result<Self, InvalidName> {
        let refuse = |why| Err(InvalidName::Scheme(why));
        let [domain, suffix, attach_prefix] = [domain, suffix, attach_prefix].map(str::to_ascii_lowercase);
        let (name, port) = match domain.split_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => {
                (name, format!(":{port}"))
            }
            Some(_) => return refuse("the domain's port is not a number from 1 to 65535"),
            None => (domain.as_str(), String::new()),
        };
        if !is_name(name) || name.parse::<IpAddr>().is_ok() {
            return refuse("the domain is not a host name");
        }
        if !suffix.bytes().all(|b| is_name_byte(b) || b == b'.')
            || suffix.contains("..")
            || suffix.ends_with(['-', '.'])
        {
            return refuse(
                "the suffix holds something other than letters, digits, '-' and '.', or ends with '-' or '.'",
            );
        }
        if attach_prefix.is_empty()
            || !attach_prefix.bytes().all(is_name_byte)
            || attach_prefix.starts_with('-')
        {
            return refuse("the attach prefix must be letters, digits and '-', and not start with '-'");
        }
        let before_dash = attach_prefix.strip_suffix('-').unwrap_or_default();
        if before_dash.bytes().all(|b| b.is_ascii_digit()) && !before_dash.is_empty() {
            return refuse("the attach prefix looks like a port");
        }
        let longest = attach_prefix.len().max("65535-".len()) + SessionHash::LEN;
        let first_label = longest + suffix.find('.').unwrap_or(suffix.len());
        if first_label > 63 || longest + suffix.len() + 1 + name.len() > 253 {
            return refuse("the names would be too long for DNS");
        }
        let loopback = name == "localhost";
        Ok(Self { domain: name.to_owned(), port, suffix, attach_prefix, loopback })
    }

    /// Reads a `Host` header (or an HTTP/2 `:authority`). A port is ignored, as are case and a trailing
    /// dot. What cannot be a host name is [`Route::Foreign`]; nothing is an error.
    #[must_use]
    pub fn parse(&self, host: &str) -> Route {
        let Some(name) = host_name(host) else { return Route::Foreign };
        if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
            return if self.loopback && address.is_loopback() { Route::Site } else { Route::Foreign };
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if !is_name(&name) {
            return Route::Foreign;
        }
        if name == self.domain {
            return Route::Site;
        }
        match name.strip_suffix(&self.domain).and_then(|rest| rest.strip_suffix('.')) {
            None => Route::Foreign,
            Some(rest) => self.parse_session(rest).map_or(Route::Site, Route::Session),
        }
    }

    /// The host name of a session, with the domain's port: [`HostScheme::parse`] gives the route back.
    #[must_use]
    pub fn render(&self, route: &SessionRoute) -> String {
        let prefix = match route.target {
            Target::Opencode => String::new(),
            Target::Port(port) => format!("{port}-"),
            Target::Attach => self.attach_prefix.clone(),
        };
        format!("{prefix}{}{}.{}{}", route.hash, self.suffix, self.domain, self.port)
    }

    /// The domain, with its port where it has one.
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

/// The host of `host[:port]`, brackets kept; `None` where the port is not one.
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

/// A port that a dev server may have, written as a number is: no sign, no leading zero.
fn dev_port(digits: &str) -> Option<u16> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|&port: &u16| plain && port >= 1024)
}

fn is_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(is_name_byte))
}

/// Letters, digits, hyphen (RFC 1123 §2.1), and the underscore that DNS has beside them.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}
