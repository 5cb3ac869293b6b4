//! The typed configuration.

use std::{
    ffi::OsString,
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use github::ApiUrl;
use http::{HeaderName, HeaderValue, Uri};
use ipnet::IpNet;
use pod_manager::{SessionAddresses, kubernetes::KubernetesSettings};
use session_key::{HostScheme, Identity, RepoPolicy, Route};

use super::layers::Origin;
use crate::administrators::Administrators;

/// The router's configuration. Every value has been checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The addresses to listen on; never empty.
    pub listen: Vec<IpAddr>,
    /// A further address to listen on if the machine has it. Only set if LISTEN_ADDRESS is not.
    pub optional_listen: Option<IpAddr>,
    /// The port of the site and the sessions; with 0, the kernel chooses one.
    pub port: u16,
    /// The port of health and metrics; with 0, the kernel chooses one.
    pub health_port: u16,
    /// The port of the listener for the sessions' reports; `None` if there is none. With 0, the kernel
    /// chooses one.
    pub report_port: Option<u16>,
    /// The port of the listener for attach hosts alone; `None` if there is none. With 0, the kernel chooses
    /// one.
    pub attach_port: Option<u16>,
    /// How long an attach token is valid unless its creator says.
    pub attach_token_lifetime: Duration,
    /// The longest time that an attach token may be valid.
    pub max_attach_token_lifetime: Duration,
    /// The public host names.
    pub names: Names,
    /// How a request's user is identified.
    pub identity: IdentitySource,
    /// Who may see and stop everybody's sessions.
    pub administrators: Administrators,
    /// How long a session may be unused before it is stopped.
    pub idle_timeout: Duration,
    /// Sessions that one user may keep; `None` is no limit.
    pub max_sessions: Option<usize>,
    /// Sessions of one user that may run at once; `None` is no limit.
    pub max_running: Option<usize>,
    /// Sessions that one user may create or resume per minute; `None` is no limit.
    pub max_starts_per_minute: Option<u32>,
    /// The secret of requests that pull an image, if ADMIN_SECRET is set.
    pub admin_secret: Option<Secret>,
    /// Whether requests start sessions that are stopped.
    pub wake: bool,
    /// How long a program's request waits for a session that was started for it.
    pub wake_timeout: Duration,
    /// The repository that the site suggests for a new session.
    pub default_repo: Option<String>,
    /// The API of the GitHub whose repositories the site offers.
    pub github_api: ApiUrl,
    /// What runs the sessions.
    pub backend: Backend,
    /// The key of the user digests in audit lines, if AUDIT_KEY is set.
    pub audit_key: Option<Secret>,
    /// How long new requests are served although the router is no longer ready, at shutdown.
    pub shutdown_delay: Duration,
    /// How long requests in flight may take to finish after that.
    pub drain_timeout: Duration,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// What is logged, as tracing directives.
    pub log_level: String,
    /// Names of the sign-in's cookies, which sessions neither see nor set.
    pub auth_cookies: Vec<String>,
    /// Whether the names of each request's headers are logged.
    pub debug_headers: bool,
    /// How requests and sessions are traced; `None` if they are not.
    pub traces: Option<TraceSettings>,
    /// Warnings about variables that are set but have no effect.
    pub notices: Vec<String>,
    /// The environment of the sessions' processes: this process's, without the router's own variables.
    pub environment: Environment,
    /// The environment's `KUBECONFIG`.
    pub kubeconfig: Option<OsString>,
    pub(super) listing: Vec<(&'static str, String, Origin)>,
}

/// What runs the sessions.
#[derive(Debug, Clone)]
pub enum Backend {
    /// Child processes of the router.
    Local {
        /// The folder that holds the sessions.
        state_dir: PathBuf,
        /// The opencode program.
        opencode: PathBuf,
    },
    /// Pods of a Kubernetes cluster.
    Kubernetes(Box<KubernetesSettings>),
}

/// The parts of the public host names, checked to fit together.
#[derive(Debug, Clone)]
pub struct Names {
    /// `http` or `https`, as browsers see it.
    pub proto: &'static str,
    /// `None` is `localhost` with the port that the router listens on.
    pub(super) domain: Option<String>,
    /// The domain as sessions know it, if it is not `domain`.
    pub(super) external_domain: Option<String>,
    /// The site's host name, if it is not `domain`.
    pub(super) site: Option<String>,
    pub(super) suffix: String,
    pub(super) attach_prefix: String,
}

/// How a request's user is identified.
#[derive(Debug, Clone)]
pub enum IdentitySource {
    /// Every request comes from this user.
    Dev(Identity),
    /// A trusted proxy names the user in a header. At least one of the two conditions is set, and each one
    /// that is set must hold.
    Headers {
        /// The addresses that a trusted proxy connects from.
        proxies: Vec<IpNet>,
        /// The secret that a trusted proxy sends.
        secret: Option<Secret>,
    },
}

/// How requests and sessions are traced. `Debug` hides the values of the headers.
#[derive(Debug, Clone)]
pub struct TraceSettings {
    /// Where spans are sent: the collector's address with `/v1/traces`.
    pub endpoint: Uri,
    /// Headers of each request to the collector.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The name of the router in traces.
    pub service_name: String,
    /// Whether a continued trace is traced as its sender decided.
    pub parent_based: bool,
    /// The share of (other) traces that are kept, 0 to 1.
    pub ratio: f64,
    /// Whether a trusted proxy's `traceparent` is continued.
    pub continue_traces: bool,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Environment variables. `Debug` hides their values, which include API keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(pub Vec<(OsString, OsString)>);

/// A secret text, hidden by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) String);

/// Everything that is wrong with a configuration: whole sentences, each with what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl Config {
    /// Returns which repository addresses are accepted. On their own machine, users may clone whatever git
    /// can.
    #[must_use]
    pub fn repos(&self) -> RepoPolicy {
        repo_policy(self.on_kubernetes(), Some(&self.identity))
    }

    /// Whether the router serves only the one user who owns the machine.
    #[must_use]
    pub fn is_single_user(&self) -> bool {
        is_single_user(self.on_kubernetes(), Some(&self.identity))
    }

    /// Whether sessions are Pods.
    #[must_use]
    pub fn on_kubernetes(&self) -> bool {
        matches!(self.backend, Backend::Kubernetes(_))
    }

    /// Returns the name by which the replicas of a router are distinguished: its Pod's.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        match &self.backend {
            Backend::Kubernetes(settings) => Some(&settings.identity),
            Backend::Local { .. } => None,
        }
    }

    /// Returns the addresses of the site and the sessions.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listen.iter().map(|&ip| SocketAddr::new(ip, self.port)).collect()
    }

    /// Returns the address of health and metrics.
    #[must_use]
    pub fn health_address(&self) -> SocketAddr {
        SocketAddr::new(self.listen[0], self.health_port)
    }

    /// Returns the effective configuration as text: one variable per line, with its origin, without secrets.
    #[must_use]
    pub fn listing(&self) -> String {
        use fmt::Write as _;
        let mut text = String::new();
        for (name, value, origin) in &self.listing {
            // Aligns the origins, except those of long values.
            let width = 60_usize.saturating_sub(name.len() + 1 + value.chars().count()).max(2);
            let _infallible = writeln!(text, "{name}={value}{:width$}# {origin}", "");
        }
        text
    }
}

impl Names {
    /// Returns the host names of a router that listens on `port`.
    ///
    /// # Errors
    /// The parts do not fit together; never for a loaded [`Config`].
    pub fn scheme(&self, port: u16) -> Result<HostScheme, session_key::InvalidName> {
        HostScheme::new(&self.domain(port), &self.suffix, &self.attach_prefix)
    }

    /// Returns the public addresses of sessions, as sessions know them, of a router that listens on `port`.
    ///
    /// # Errors
    /// The parts do not fit together; never for a loaded [`Config`].
    pub fn session_addresses(&self, port: u16) -> Result<SessionAddresses, session_key::InvalidName> {
        let domain = self.external_domain.clone().unwrap_or_else(|| self.domain(port));
        let hosts = HostScheme::new(&domain, &self.suffix, &self.attach_prefix)?;
        Ok(SessionAddresses::new(self.proto, hosts))
    }

    /// Returns the domain of a router that listens on `port`.
    pub(super) fn domain(&self, port: u16) -> String {
        self.domain.clone().unwrap_or_else(|| format!("localhost:{port}"))
    }

    /// Returns whether the router serves the site at the host name that is set for it.
    pub(super) fn has_valid_site(&self, port: u16) -> bool {
        let Some(site) = &self.site else { return true };
        self.scheme(port).is_ok_and(|scheme| scheme.parse(site) == Route::Site)
    }

    /// Returns the site's origin, without a slash at its end.
    #[must_use]
    pub fn site_origin(&self, scheme: &HostScheme) -> String {
        let host = self.site.clone().unwrap_or_else(|| scheme.domain());
        format!("{}://{host}", self.proto)
    }
}

impl Secret {
    /// Returns the secret text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.0.len())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

pub(super) fn repo_policy(on_kubernetes: bool, identity: Option<&IdentitySource>) -> RepoPolicy {
    RepoPolicy { ssh_and_git: true, local_paths: is_single_user(on_kubernetes, identity) }
}

fn is_single_user(on_kubernetes: bool, identity: Option<&IdentitySource>) -> bool {
    !on_kubernetes && matches!(identity, Some(IdentitySource::Dev(_)))
}
