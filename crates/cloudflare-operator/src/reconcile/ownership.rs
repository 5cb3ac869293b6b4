//! Decides which records and rules at Cloudflare are ours.

use session_key::{HostScheme, Route, SessionHash, SessionRoute, Target};

/// The comment of our records; the TypeScript operator writes the same.
pub const COMMENT: &str = "opencode session — managed by opencode-cloudflare-operator";

/// The marks of our records and rules.
///
/// A record is ours if it has our comment **and** leads to our tunnel; a rule is ours if it has the host of
/// a session **and** our service, and no path. Neither is removed unless its name could be that of a session
/// or attach host; a record also if it is the wildcard's. So a zone and a tunnel can be shared with people,
/// with Terraform, and with operators of other tunnels or suffixes.
#[derive(Debug, Clone)]
pub struct Ownership {
    names: HostScheme,
    target: String,
    service: String,
    wildcard: String,
}

impl Ownership {
    /// Creates the marks of one tunnel, with this `service` in its rules.
    #[must_use]
    pub fn new(names: &HostScheme, tunnel_id: &str, service: &str) -> Self {
        Self {
            names: names.clone(),
            target: format!("{}.cfargotunnel.com", tunnel_id.to_ascii_lowercase()),
            service: service.to_owned(),
            wildcard: wildcard(names),
        }
    }

    /// Returns the content of our records.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns the service of our rules.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Returns the name that stands for all hosts: `*.<domain>`, or `*.<rest of the suffix>.<domain>` if the
    /// suffix has a dot. It covers the hosts of ports too, which get no record or rule of their own: they are
    /// not known in advance.
    #[must_use]
    pub fn wildcard(&self) -> &str {
        &self.wildcard
    }

    /// Returns the domain, without a port.
    #[must_use]
    pub fn domain(&self) -> String {
        without_port(&self.names.domain()).to_owned()
    }

    /// Whether a record or rule of this name may be ours: the session or attach host of any session.
    #[must_use]
    pub fn is_session_host(&self, name: &str) -> bool {
        let Route::Session(route) = self.names.parse(name) else { return false };
        let own = matches!(route.target, Target::Opencode | Target::Attach);
        own && without_port(&self.names.render(&route)).eq_ignore_ascii_case(name)
    }

    /// Whether a record of this name may be ours.
    #[must_use]
    pub fn may_own(&self, name: &str) -> bool {
        self.wildcard.eq_ignore_ascii_case(name) || self.is_session_host(name)
    }

    /// Whether a rule's service is ours. A final slash makes no difference to cloudflared.
    #[must_use]
    pub fn is_service(&self, service: &str) -> bool {
        service.trim_end_matches('/') == self.service.trim_end_matches('/')
    }
}

fn wildcard(names: &HostScheme) -> String {
    let hash = SessionHash::parse("000000000000").expect("twelve hexadecimal digits");
    let host = names.render(&SessionRoute { hash, target: Target::Opencode });
    let parent = host.split_once('.').map_or("", |(_, parent)| parent);
    format!("*.{}", without_port(parent))
}

fn without_port(host: &str) -> &str {
    host.split_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(suffix: &str, name: &str, expected: bool) {
        let names = HostScheme::new("example.org", suffix, "attach-").unwrap();
        let ownership = Ownership::new(&names, "tunnel", "http://traefik:80");
        assert_eq!(ownership.may_own(name), expected, "{name} with suffix {suffix:?}");
    }

    #[test]
    fn only_session_hosts_attach_hosts_and_the_wildcard_may_be_ours() {
        check("-oc", "a48da0606867-oc.example.org", true);
        check("-oc", "attach-a48da0606867-oc.example.org", true);
        check("-oc", "A48DA0606867-OC.example.org", true);
        check("-oc", "*.example.org", true);
        check("", "a48da0606867.example.org", true);
        check(".oc", "a48da0606867.oc.example.org", true);
        check(".oc", "*.oc.example.org", true);
        check(".oc", "*.example.org", false);
        check("-oc", "5173-a48da0606867-oc.example.org", false);
        check("-oc", "a48da0606867.example.org", false);
        check("-oc", "www-oc.example.org", false);
        check("-oc", "example.org", false);
        check("-oc", "a48da0606867-oc.example.net", false);
        check("-oc", "a48da0606867-oc.example.org.", false);
        check("-oc", "*.a48da0606867-oc.example.org", false);
        check("-oc", "", false);
    }
}
