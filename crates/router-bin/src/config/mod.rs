//! The configuration: defaults, overridden by a file, overridden by the environment. No other module reads
//! the environment.
//!
//! - [`variables`]: the table of all variables; `variable` describes one
//! - `layers`: the text of each variable, and its origin
//! - `reader`: from texts to checked values; `names`, `identity`, `kubernetes` and `traces` add
//!   those that belong together
//! - `model`: the typed result

mod identity;
mod kubernetes;
mod layers;
mod model;
mod names;
mod reader;
mod traces;
mod variable;
pub mod variables;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
};

use layers::Layers;
use model::repo_policy;
use reader::Reader;
use variables::{Scope, VARIABLES, Variable};

pub use layers::Origin;
pub use model::{
    Backend, Config, Environment, IdentitySource, LogFormat, Names, Problems, Secret, TraceSettings,
};

impl Config {
    /// Loads the configuration of this process.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_process(file: Option<&Path>) -> Result<Self, Problems> {
        Self::load(file, std::env::vars_os())
    }

    /// Loads the configuration from a file and an environment. `file` takes precedence over CONFIG_FILE.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Problems> {
        let (mut texts, mut others) = (BTreeMap::new(), Vec::new());
        let mut problems = Vec::new();
        for (name, value) in environment {
            let is_ours = VARIABLES.iter().any(|variable| name == variable.name);
            if !is_ours {
                others.push((name.clone(), value.clone()));
            }
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => drop(texts.insert(name, value)),
                Err(_) if is_ours => problems.push(format!("{name} in the environment is not UTF-8 text.")),
                Err(_) => {}
            }
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let config_file = texts.get("CONFIG_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let layers = Layers::gather(file.or(config_file.as_deref()), &texts).map_err(Problems)?;
        Ok(Self { environment: Environment(others), ..check(&layers, &texts)? })
    }
}

fn check(layers: &Layers, environment: &BTreeMap<String, String>) -> Result<Config, Problems> {
    let mut read = Reader::new(layers);
    let on_kubernetes = read.on_kubernetes();
    let listen = read.addresses("LISTEN_ADDRESS", on_kubernetes);
    let port = read.port("PORT");
    let health_port = read.port("HEALTH_PORT");
    if port == health_port && port != 0 {
        read.problem("HEALTH_PORT", "is the same as PORT", "3001");
    }
    let attach_port = read.attach_port("ATTACH_PORT", port);
    if attach_port == Some(health_port) && health_port != 0 {
        read.problem("ATTACH_PORT", "is the same as HEALTH_PORT", "4096");
    }
    let (attach_token_lifetime, max_attach_token_lifetime) = read.attach_token_lifetimes();
    let report_port = read.report_port("REPORT_PORT", [port, health_port]);
    let names = read.names(port, on_kubernetes);
    let identity = read.identity(&listen);
    let administrators = read.administrators();
    let idle_timeout = read.minutes("IDLE_TIMEOUT_MINUTES");
    let max_sessions = read.limit("MAX_SESSIONS_PER_USER");
    let max_running = read.limit("MAX_RUNNING_SESSIONS_PER_USER");
    let max_starts_per_minute = read.limit("MAX_STARTS_PER_MINUTE");
    let admin_secret = read.secret("ADMIN_SECRET");
    let wake = read.switch("WAKE");
    let wake_timeout = read.seconds("WAKE_TIMEOUT_SECONDS");
    let default_repo = read.repository("DEFAULT_GIT_REPO", repo_policy(on_kubernetes, identity.as_ref()));
    let github_api = read.github_api("GITHUB_API_URL");
    let backend = if on_kubernetes {
        let mut settings = read.kubernetes(environment.get("HOSTNAME").map(String::as_str));
        settings.github_url = github_api.web_url();
        Backend::Kubernetes(Box::new(settings))
    } else {
        Backend::Local {
            state_dir: read.state_dir(environment),
            opencode: read.program("OPENCODE_BIN", "opencode", environment),
        }
    };
    let audit_key = read.secret("AUDIT_KEY");
    let shutdown_delay = read.seconds("SHUTDOWN_DELAY_SECONDS");
    let drain_timeout = read.seconds("DRAIN_TIMEOUT_SECONDS");
    let log_format = read.choice("LOG_FORMAT", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    let log_level = read.directives("LOG_LEVEL");
    let auth_cookies = read.cookie_names("AUTH_COOKIE_NAMES");
    let debug_headers = read.switch("DEBUG_HEADERS");
    let traces = read.traces();
    let problems = read.finish();
    let Some(identity) = identity.filter(|_| problems.is_empty()) else { return Err(Problems(problems)) };
    let is_default = layers.chosen("LISTEN_ADDRESS").is_none();
    let mut config = Config {
        listen,
        optional_listen: (is_default && !on_kubernetes).then_some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        port,
        health_port,
        attach_port,
        attach_token_lifetime,
        max_attach_token_lifetime,
        report_port,
        names,
        identity,
        administrators,
        idle_timeout,
        max_sessions,
        max_running,
        max_starts_per_minute,
        admin_secret,
        wake,
        wake_timeout,
        default_repo: default_repo.map(|repo| repo.as_str().to_owned()),
        github_api,
        backend,
        audit_key,
        shutdown_delay,
        drain_timeout,
        log_format,
        log_level,
        auth_cookies,
        debug_headers,
        traces,
        notices: notices(layers, on_kubernetes),
        environment: Environment::default(),
        kubeconfig: environment.get("KUBECONFIG").filter(|path| !path.is_empty()).map(OsString::from),
        listing: Vec::new(),
    };
    config.listing = VARIABLES
        .iter()
        .map(|variable| {
            (variable.name, effective_value(&config, variable, layers), layers.origin(variable.name))
        })
        .collect();
    Ok(config)
}

/// Returns the value of a variable as `--check-config` shows it.
fn effective_value(config: &Config, variable: &Variable, layers: &Layers) -> String {
    match variable.name {
        name if variable.secret && layers.text(name).is_some() => "(set, not shown)".to_owned(),
        "ROUTER_DOMAIN" => config.names.domain(config.port),
        "SITE_HOST" => config.names.site.clone().unwrap_or_else(|| config.names.domain(config.port)),
        "ROUTER_PROTO" => config.names.proto.to_owned(),
        "IDENTITY" => match config.identity {
            IdentitySource::Dev(_) => "dev".to_owned(),
            IdentitySource::Headers { .. } => "headers".to_owned(),
        },
        name @ ("STATE_DIR" | "OPENCODE_BIN") => match (&config.backend, name) {
            (Backend::Local { state_dir, .. }, "STATE_DIR") => state_dir.display().to_string(),
            (Backend::Local { opencode, .. }, _) => opencode.display().to_string(),
            (Backend::Kubernetes(_), _) => String::new(),
        },
        name => layers.text(name).unwrap_or_default().to_owned(),
    }
}

/// Returns a warning for each variable that is set but has no effect.
fn notices(layers: &Layers, on_kubernetes: bool) -> Vec<String> {
    let chosen = VARIABLES.iter().filter(|variable| layers.chosen(variable.name).is_some());
    let is_traced = layers.chosen(traces::ENDPOINT).is_some();
    chosen
        .filter_map(|variable| match variable.scope {
            Scope::Router if variable.name.starts_with("OTEL_") && !is_traced => {
                Some(format!("{} has no effect without {}.", variable.name, traces::ENDPOINT))
            }
            Scope::Router => None,
            Scope::Local if !on_kubernetes => None,
            Scope::Kubernetes if on_kubernetes => None,
            Scope::Local => Some(format!("{} has no effect with BACKEND=kubernetes.", variable.name)),
            Scope::Kubernetes => Some(format!("{} has no effect with BACKEND=local.", variable.name)),
        })
        .collect()
}
