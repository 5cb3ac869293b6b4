//! The words for what changes, and for what stays different.

use std::fmt;

/// A change at Cloudflare. `Display` says it in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Creates the record of a host.
    CreateRecord {
        /// The host.
        name: String,
    },
    /// Makes a record of ours proxied again.
    RepairRecord {
        /// The record's id.
        id: String,
        /// The host.
        name: String,
    },
    /// Removes a record of ours whose host is no longer desired.
    DeleteRecord {
        /// The record's id.
        id: String,
        /// The host.
        name: String,
    },
    /// Adds a rule to the tunnel.
    AddRule {
        /// The host.
        host: String,
    },
    /// Moves a rule of ours before the rule that hides it.
    MoveRule {
        /// The host.
        host: String,
    },
    /// Removes a rule of ours whose host is no longer desired, or a second one of the same host.
    RemoveRule {
        /// The host.
        host: String,
    },
    /// Adds the last rule, without which Cloudflare refuses the document.
    AddCatchAll,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateRecord { name } => write!(f, "create the DNS record {name}"),
            Self::RepairRecord { name, .. } => write!(f, "make the DNS record {name} proxied"),
            Self::DeleteRecord { name, .. } => write!(f, "delete the DNS record {name}"),
            Self::AddRule { host } => write!(f, "add the tunnel rule of {host}"),
            Self::MoveRule { host } => {
                write!(f, "move the tunnel rule of {host} before the rule that hides it")
            }
            Self::RemoveRule { host } => write!(f, "remove the tunnel rule of {host}"),
            Self::AddCatchAll => write!(f, "add a last tunnel rule that answers 404"),
        }
    }
}

/// Something that stays different from what is desired. `Display` says what it is and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Conflict {
    /// Another record has the host's name.
    Record {
        /// The host.
        name: String,
        /// The type of the record.
        kind: String,
        /// The content of the record.
        content: String,
        /// Whether the record has our comment: it was made for another tunnel.
        commented: bool,
    },
    /// The record of somebody else leads to our tunnel, but is not proxied, so nobody can connect.
    RecordNotProxied {
        /// The host.
        name: String,
    },
    /// Another rule of the tunnel has the host.
    Rule {
        /// The host.
        host: String,
        /// The service of the rule.
        service: String,
    },
    /// A desired host whose name does not show that it is ours. It is left out: it could not be removed.
    ForeignHost {
        /// The host.
        name: String,
    },
    /// Cloudflare refuses this record. It is tried again after a while.
    Refused {
        /// The host.
        name: String,
        /// Cloudflare's code.
        code: u64,
        /// Cloudflare's text.
        message: String,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record { name, kind, content, commented: false } => {
                write!(f, "{name} has a DNS record of somebody else ({kind} {content}). Remove or rename it")
            }
            Self::Record { name, kind, content, commented: true } => write!(
                f,
                "the DNS record of {name} is an operator's, but leads elsewhere ({kind} {content}). Delete \
                 it if that tunnel is no longer used"
            ),
            Self::RecordNotProxied { name } => write!(
                f,
                "the DNS record of {name} leads to the tunnel, but is not proxied. Set it to proxied, or \
                 delete it"
            ),
            Self::Rule { host, service } => write!(
                f,
                "the tunnel has a rule of somebody else for {host} (service {service}). Remove it, or \
                 correct its service"
            ),
            Self::ForeignHost { name } => {
                write!(f, "{name} is not a host of a session, so it gets no record")
            }
            Self::Refused { name, code, message } => {
                write!(f, "Cloudflare refuses the DNS record of {name}: {message} (code {code})")
            }
        }
    }
}

/// Something that is left to somebody else, and as desired if they do it. `Display` says it in one line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Note {
    /// A record of somebody else leads these hosts to the tunnel.
    RecordCovers {
        /// The name of the record: a wildcard, or one of the hosts.
        name: String,
        /// How many hosts it serves.
        hosts: usize,
    },
    /// A rule of somebody else leads these hosts to our service.
    RuleCovers {
        /// The hostname of the rule; empty for the last rule.
        hostname: String,
        /// How many hosts it serves.
        hosts: usize,
    },
    /// cloudflared has its rules in a file, so the tunnel's document has no effect. Whether the file serves
    /// the hosts can't be seen.
    LocalTunnel,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RecordCovers { name, hosts } => {
                write!(f, "the DNS record {name} already covers {hosts} host(s); they get no record")
            }
            Self::RuleCovers { hostname, hosts } if hostname.is_empty() => {
                write!(f, "the tunnel's last rule already covers {hosts} host(s); they get no rule")
            }
            Self::RuleCovers { hostname, hosts } => {
                write!(f, "the tunnel's rule {hostname} already covers {hosts} host(s); they get no rule")
            }
            Self::LocalTunnel => write!(
                f,
                "the tunnel is configured locally, so its rules are not managed. Let the file's last rule \
                 lead to ROUTER_SERVICE_URL, or migrate the tunnel in Cloudflare's dashboard"
            ),
        }
    }
}
