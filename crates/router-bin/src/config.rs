//! Configuration: defaults < file < environment. This is the one place that reads the environment.

mod kubernetes;
mod layers;
pub mod settings;
mod values;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use pod_manager::kubernetes::KubernetesSettings;
use session_key::{HostScheme, Identity, RepoPolicy};

use layers::Layers;
pub use layers::Origin;
use settings::{SETTINGS, Scope};
use values::Reader;

/// What the router is told to be. A value that exists has been checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens; never empty.
    pub listen: Vec<IpAddr>,
    /// Where it listens too if the machine has such an address: nobody chose any.
    pub listen_if_there: Option<IpAddr>,
    /// The port of site and sessions; 0: the kernel chooses.
    pub port: u16,
    /// The port of health and metrics; 0: the kernel chooses.
    pub health_port: u16,
    /// How browsers reach it.
    pub names: Names,
    /// Who asks.
    pub identity: IdentitySource,
    /// How long a session may stand unused.
    pub idle_timeout: Duration,
    /// Sessions that one user may keep; `None`: any number.
    pub max_sessions: Option<usize>,
    /// Sessions of one user that may run at once; `None`: any number.
    pub max_running: Option<usize>,
    /// How often one user may create or resume a session, per minute; `None`: as often as they like.
    pub max_starts_per_minute: Option<u32>,
    /// Filled in as the repository by the site.
    pub default_repo: Option<String>,
    /// What brings sessions about.
    pub backend: Backend,
    /// The key of the audit's digests, where one is given.
    pub audit_key: Option<Secret>,
    /// How long what is under way may take to end.
    pub drain_timeout: Duration,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// What is logged: tracing directives.
    pub log_level: String,
    /// The sign-in's cookies, which no session sees or sets.
    pub auth_cookies: Vec<String>,
    /// Log the names of each request's headers.
    pub debug_headers: bool,
    /// Sentences for the log: what was set and has no effect.
    pub notices: Vec<String>,
    /// The environment without what is the router's own, for the sessions' processes.
    pub environment: Environment,
    /// Where `KUBECONFIG` of the environment says that the cluster is described.
    pub kubeconfig: Option<OsString>,
    listing: Vec<(&'static str, String, Origin)>,
}

/// What brings sessions about.
#[derive(Debug, Clone)]
pub enum Backend {
    /// Child processes of this machine.
    Local {
        /// Where sessions live.
        state_dir: PathBuf,
        /// The opencode that sessions run.
        opencode: PathBuf,
    },
    /// Pods of a cluster.
    Kubernetes(Box<KubernetesSettings>),
}

/// The parts of the host names, checked to fit together.
#[derive(Debug, Clone)]
pub struct Names {
    /// `http` or `https`.
    pub proto: &'static str,
    /// `None`: `localhost` with the port that the router came to listen on.
    domain: Option<String>,
    suffix: String,
    attach_prefix: String,
}

/// Who asks.
#[derive(Debug, Clone)]
pub enum IdentitySource {
    /// Always the same user, whose machine this is.
    Dev(Identity),
    /// Whom a trusted neighbour names; one of the two conditions is set at least, and each that is must hold.
    Headers {
        /// The neighbours that may.
        proxies: Vec<IpNet>,
        /// What they must send beside.
        secret: Option<Secret>,
    },
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person.
    Text,
    /// One JSON object a line.
    Json,
}

/// Variables with their values, which are shown nowhere: API keys are among them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(pub Vec<(OsString, OsString)>);

/// A text that is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What is wrong with a configuration: one sentence or more, each with what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl Config {
    /// The configuration of this process.
    ///
    /// # Errors
    /// [`Problems`], all that were found.
    pub fn from_process(file: Option<&Path>) -> Result<Self, Problems> {
        Self::load(file, std::env::vars_os())
    }

    /// The configuration that such a file and such an environment make; `file` wins over its CONFIG_FILE.
    ///
    /// # Errors
    /// [`Problems`], all that were found.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Problems> {
        let environment: Vec<(OsString, OsString)> = environment.into_iter().collect();
        let is_ours = |name: &OsString| SETTINGS.iter().any(|setting| name == setting.name);
        let others = environment.iter().filter(|(name, _)| !is_ours(name)).cloned().collect();
        let mut texts = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, value) in environment {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(texts.insert(name, value)),
                Err(_) if SETTINGS.iter().any(|setting| setting.name == name) => {
                    problems.push(format!("{name} in the environment is not UTF-8 text."));
                }
                Err(_) => {}
            }
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let named = texts.get("CONFIG_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let layers = Layers::gather(file.or(named.as_deref()), &texts).map_err(Problems)?;
        Ok(Self { environment: Environment(others), ..Self::check(&layers, &texts)? })
    }

    fn check(layers: &Layers, environment: &BTreeMap<String, String>) -> Result<Self, Problems> {
        let mut read = Reader::new(layers);
        let on_kubernetes = read.on_kubernetes();
        let listen = read.addresses("LISTEN_ADDRESS", on_kubernetes);
        let port = read.port("PORT");
        let health_port = read.port("HEALTH_PORT");
        if port == health_port && port != 0 {
            read.wrong("HEALTH_PORT", "is the same as PORT", "3001");
        }
        let names = read.names(port, on_kubernetes);
        let identity = read.identity(&listen);
        let idle_timeout = read.minutes("IDLE_TIMEOUT_MINUTES");
        let max_sessions = read.limit("MAX_SESSIONS_PER_USER");
        let max_running = read.limit("MAX_RUNNING_SESSIONS_PER_USER");
        let max_starts_per_minute = read.limit("MAX_STARTS_PER_MINUTE");
        let default_repo = read.repository("DEFAULT_GIT_REPO", repos(on_kubernetes, identity.as_ref()));
        let backend = if on_kubernetes {
            Backend::Kubernetes(Box::new(read.kubernetes(environment.get("HOSTNAME").map(String::as_str))))
        } else {
            Backend::Local {
                state_dir: read.state_dir(environment),
                opencode: read.program("OPENCODE_BIN", "opencode", environment),
            }
        };
        let audit_key = read.secret("AUDIT_KEY");
        let drain_timeout = read.seconds("DRAIN_TIMEOUT_SECONDS");
        let log_format = read.choice("LOG_FORMAT", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
        let log_level = read.directives("LOG_LEVEL");
        let auth_cookies = read.cookie_names("AUTH_COOKIE_NAMES");
        let debug_headers = read.switch("DEBUG_HEADERS");
        let problems = read.finish();
        let Some(identity) = identity.filter(|_| problems.is_empty()) else { return Err(Problems(problems)) };
        let chosen = layers.chosen("LISTEN_ADDRESS").is_some();
        let mut config = Self {
            listen,
            listen_if_there: (!chosen && !on_kubernetes).then_some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            port,
            health_port,
            names,
            identity,
            idle_timeout,
            max_sessions,
            max_running,
            max_starts_per_minute,
            default_repo: default_repo.map(|repo| repo.as_str().to_owned()),
            backend,
            audit_key,
            drain_timeout,
            log_format,
            log_level,
            auth_cookies,
            debug_headers,
            notices: notices(layers, on_kubernetes),
            environment: Environment::default(),
            kubeconfig: environment.get("KUBECONFIG").filter(|it| !it.is_empty()).map(OsString::from),
            listing: Vec::new(),
        };
        config.listing = SETTINGS.iter().map(|it| config.effective(it, layers)).collect();
        Ok(config)
    }

    /// Which repository addresses are taken: on their own machine, a user may clone whatever git can.
    #[must_use]
    pub fn repos(&self) -> RepoPolicy {
        repos(self.on_kubernetes(), Some(&self.identity))
    }

    /// The one user owns this machine: sessions are theirs to the last file.
    #[must_use]
    pub fn own_machine(&self) -> bool {
        is_own_machine(self.on_kubernetes(), Some(&self.identity))
    }

    /// Whether sessions are Pods.
    #[must_use]
    pub fn on_kubernetes(&self) -> bool {
        matches!(self.backend, Backend::Kubernetes(_))
    }

    /// Where site and sessions are listened for.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listen.iter().map(|&ip| SocketAddr::new(ip, self.port)).collect()
    }

    /// Where health and metrics are listened for.
    #[must_use]
    pub fn health_address(&self) -> SocketAddr {
        SocketAddr::new(self.listen[0], self.health_port)
    }

    /// The effective configuration, one variable a line with where it comes from; secrets are not shown.
    #[must_use]
    pub fn listing(&self) -> String {
        use fmt::Write as _;
        let mut text = String::new();
        for (name, value, origin) in &self.listing {
            let _infallible =
                writeln!(text, "{name}={value}{:width$}# {origin}", "", width = pad(name, value));
        }
        text
    }

    fn effective(&self, setting: &settings::Setting, layers: &Layers) -> (&'static str, String, Origin) {
        let value = match setting.name {
            _ if setting.secret && layers.text(setting.name).is_some() => "(set, not shown)".to_owned(),
            "ROUTER_DOMAIN" => {
                self.names.domain.clone().unwrap_or_else(|| format!("localhost:{}", self.port))
            }
            "ROUTER_PROTO" => self.names.proto.to_owned(),
            "IDENTITY" => match self.identity {
                IdentitySource::Dev(_) => "dev".to_owned(),
                IdentitySource::Headers { .. } => "headers".to_owned(),
            },
            name @ ("STATE_DIR" | "OPENCODE_BIN") => match (&self.backend, name) {
                (Backend::Local { state_dir, .. }, "STATE_DIR") => state_dir.display().to_string(),
                (Backend::Local { opencode, .. }, _) => opencode.display().to_string(),
                (Backend::Kubernetes(_), _) => String::new(),
            },
            name => layers.text(name).unwrap_or_default().to_owned(),
        };
        (setting.name, value, layers.origin(setting.name))
    }
}

impl Names {
    /// The names of a router that listens on that port.
    ///
    /// # Errors
    /// The parts do not fit together; not after [`Config::load`] has taken them.
    pub fn scheme(&self, port: u16) -> Result<HostScheme, session_key::InvalidName> {
        let domain = self.domain.clone().unwrap_or_else(|| format!("localhost:{port}"));
        HostScheme::new(&domain, &self.suffix, &self.attach_prefix)
    }
}

impl Secret {
    /// The text itself.
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

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => f.write_str(path),
            Self::Environment => f.write_str("environment"),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

fn repos(on_kubernetes: bool, identity: Option<&IdentitySource>) -> RepoPolicy {
    RepoPolicy { ssh_and_git: true, local_paths: is_own_machine(on_kubernetes, identity) }
}

fn is_own_machine(on_kubernetes: bool, identity: Option<&IdentitySource>) -> bool {
    !on_kubernetes && matches!(identity, Some(IdentitySource::Dev(_)))
}

/// What was set and has no effect.
fn notices(layers: &Layers, on_kubernetes: bool) -> Vec<String> {
    let chosen = SETTINGS.iter().filter(|setting| layers.chosen(setting.name).is_some());
    chosen
        .filter_map(|setting| match setting.scope {
            Scope::Router => None,
            Scope::Local if !on_kubernetes => None,
            Scope::Kubernetes if on_kubernetes => None,
            Scope::Local => Some(format!("{} has no effect with BACKEND=kubernetes.", setting.name)),
            Scope::Kubernetes => Some(format!("{} has no effect with BACKEND=local.", setting.name)),
            Scope::Later => Some(format!("{} has no effect yet: what it is for comes later.", setting.name)),
        })
        .collect()
}

/// Blanks that bring the remarks under one another where the values are not too long for it.
fn pad(name: &str, value: &str) -> usize {
    60_usize.saturating_sub(name.len() + 1 + value.chars().count()).max(2)
}
