//! Addresses of git repositories.

use std::fmt;

use crate::{error::InvalidName, text::trim};

/// The kinds of repository address that are accepted besides `https` and `http`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RepoPolicy {
    /// Accept `ssh://`, `git://` and scp-like `user@host:path`.
    pub ssh_and_git: bool,
    /// Accept `file://` and absolute paths. Only for a machine that belongs to the session's user.
    pub local_paths: bool,
}

impl RepoPolicy {
    /// All kinds: for one user on their own machine.
    pub const OWN_MACHINE: Self = Self { ssh_and_git: true, local_paths: true };
}

/// The address of a git repository without credentials, trimmed and otherwise as typed.
///
/// The address is not normalised, because it enters the session hash: `…/widgets` and `…/widgets.git` differ.
///
/// ```
/// use session_key::{RepoPolicy, RepoUrl};
/// assert!(RepoUrl::parse("https://github.com/acme/widgets", RepoPolicy::default()).is_ok());
/// assert!(RepoUrl::parse("https://me:secret@github.com/acme/widgets", RepoPolicy::default()).is_err());
/// assert!(RepoUrl::parse("ext::sh -c id", RepoPolicy::OWN_MACHINE).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoUrl(Box<str>);

impl RepoUrl {
    const MAX_BYTES: usize = 2048;

    /// Parses an address of a kind that `policy` allows; white space around it is dropped.
    ///
    /// # Errors
    /// [`InvalidName::Repo`] if the kind is not allowed, or if the address has no host or path, contains a
    /// credential, white space or a control character, or could be read as an option by git or ssh.
    pub fn parse(url: &str, policy: RepoPolicy) -> Result<Self, InvalidName> {
        let url = trim(url);
        check(url, policy).map_err(InvalidName::Repo)?;
        Ok(Self(url.into()))
    }

    /// Returns the address as typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the host, without user and port; `None` for a path on this machine.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match split(&self.0) {
            Address::Url { scheme, .. } if scheme.eq_ignore_ascii_case("file") => None,
            Address::Url { rest, .. } => Some(host_of(authority(rest).0).1),
            Address::Scp { host, .. } => Some(host),
            Address::Path | Address::Unknown => None,
        }
    }
}

enum Address<'a> {
    Url { scheme: &'a str, rest: &'a str },
    Scp { host: &'a str, path: &'a str },
    Path,
    Unknown,
}

fn split(url: &str) -> Address<'_> {
    if url.starts_with('/') {
        return Address::Path;
    }
    if let Some((scheme, rest)) = url.split_once("://") {
        return Address::Url { scheme, rest };
    }
    match url.split_once(':') {
        // `https:/host/x` is a typing error, not a host called https.
        Some(("http" | "https" | "file" | "ssh" | "git", _)) => Address::Unknown,
        Some((left, path)) if !path.starts_with(':') && !left.contains('/') => {
            let host = left.split_once('@').map_or(left, |(_, host)| host);
            Address::Scp { host, path }
        }
        _ => Address::Unknown,
    }
}

fn check(url: &str, policy: RepoPolicy) -> Result<(), &'static str> {
    if url.is_empty() {
        return Err("is empty");
    }
    if url.len() > RepoUrl::MAX_BYTES {
        return Err("is longer than 2048 bytes");
    }
    if url.chars().any(|c| c.is_control() || c == '\u{feff}') {
        return Err("contains a control character");
    }
    if url.starts_with('-') {
        return Err("starts with '-'");
    }
    let address = split(url);
    if !matches!(address, Address::Path) && url.chars().any(char::is_whitespace) {
        return Err("contains white space");
    }
    match address {
        Address::Url { scheme, rest } => check_url(&scheme.to_ascii_lowercase(), rest, policy),
        Address::Scp { host, path } => {
            if !policy.ssh_and_git {
                return Err("is of a kind (ssh) that is not allowed here: use https://…");
            }
            if path.is_empty() || path.starts_with('-') {
                return Err("does not name a repository on its host");
            }
            check_host(host)
        }
        Address::Path if policy.local_paths => Ok(()),
        Address::Path => Err("is a path, which is not allowed here: use https://…"),
        Address::Unknown => Err("is not a URL: use https://host/owner/name"),
    }
}

fn check_url(scheme: &str, rest: &str, policy: RepoPolicy) -> Result<(), &'static str> {
    let (authority, path) = authority(rest);
    let (user, host) = host_of(authority);
    match scheme {
        "https" | "http" => {
            if user.is_some() {
                return Err(
                    "contains a user name or password: leave it out, git asks your credential helper",
                );
            }
        }
        "ssh" | "git" if policy.ssh_and_git => {
            if user.is_some_and(|user| user.contains(':')) {
                return Err("contains a password: use an ssh key");
            }
            if user.is_some_and(|user| user.starts_with('-')) {
                return Err("has a user name that starts with '-'");
            }
        }
        "file" if policy.local_paths => {
            let local = authority.is_empty() || authority.eq_ignore_ascii_case("localhost");
            return match local && path.starts_with('/') {
                true => Ok(()),
                false => Err("must be file:///absolute/path"),
            };
        }
        "ssh" | "git" | "file" => return Err("is of a kind that is not allowed here: use https://…"),
        _ => return Err("is of an unknown kind: use https://host/owner/name"),
    }
    check_host(host)?;
    check_port(authority, host)?;
    match path.trim_matches('/').is_empty() {
        true => Err("does not name a repository on its host"),
        false => Ok(()),
    }
}

/// Splits the text after `://` into the authority (RFC 3986 §3.2) and the rest, including its slash.
fn authority(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

/// Returns the user information and the host of an authority, without the port.
fn host_of(authority: &str) -> (Option<&str>, &str) {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let host = match host.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    (user, host)
}

fn check_host(host: &str) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("does not name a host");
    }
    if host.starts_with('-') || host.contains(['@', '\\', '%', '<', '>', '"', '\'', '`', '$']) {
        return Err("has a host that is not a name");
    }
    Ok(())
}

fn check_port(authority: &str, host: &str) -> Result<(), &'static str> {
    let behind = authority.rsplit_once(host).map_or("", |(_, behind)| behind.trim_start_matches(']'));
    match behind.strip_prefix(':') {
        Some(port) if !port.is_empty() && port.parse::<u16>().is_err() => {
            Err("has a port that is not a number up to 65535")
        }
        _ => Ok(()),
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
