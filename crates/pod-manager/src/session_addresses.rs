//! The public addresses of sessions, as the sessions themselves know them.

use session_key::{HostScheme, SessionHash, SessionRoute, Target};

/// The public addresses of sessions.
///
/// ```
/// use pod_manager::SessionAddresses;
/// use session_key::{HostScheme, SessionHash};
///
/// let hosts = HostScheme::new("code.example.com", "-oc", "attach-")?;
/// let addresses = SessionAddresses::new("https", hosts);
/// let template = addresses.port_url_template(SessionHash::parse("a48da0606867")?);
/// assert_eq!(template, "https://{port}-a48da0606867-oc.code.example.com");
/// # Ok::<(), session_key::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionAddresses {
    proto: Box<str>,
    hosts: HostScheme,
}

impl SessionAddresses {
    /// Creates the addresses; `proto` is `http` or `https`, as browsers see it.
    #[must_use]
    pub fn new(proto: &str, hosts: HostScheme) -> Self {
        Self { proto: proto.into(), hosts }
    }

    /// Returns the address of a dev server in the session, with `{port}` in place of its port.
    #[must_use]
    pub fn port_url_template(&self, hash: SessionHash) -> String {
        let host = self.hosts.render(&SessionRoute { hash, target: Target::Port(PORT) });
        let rest = host.strip_prefix(&PORT.to_string()).unwrap_or(&host);
        format!("{}://{{port}}{rest}", self.proto)
    }

    /// Returns the variables by which a session knows its public names.
    #[must_use]
    pub fn variables(&self, hash: SessionHash) -> [(&'static str, String); 3] {
        [
            ("OPENCODE_SESSION_HASH", hash.to_string()),
            ("OPENCODE_ROUTER_EXTERNAL_DOMAIN", self.hosts.domain()),
            ("OPENCODE_PORT_URL_TEMPLATE", self.port_url_template(hash)),
        ]
    }
}

/// Any port: it is replaced.
const PORT: u16 = 1024;
