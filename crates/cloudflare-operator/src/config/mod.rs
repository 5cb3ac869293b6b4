//! The configuration, from variables of the environment. No other module reads the environment.
//!
//! - [`variables`]: the table of all variables
//! - `reader`: from texts to checked values

mod reader;
pub mod variables;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    net::SocketAddr,
};

use reader::Reader;
use variables::{DefaultValue, VARIABLES, Variable};

use crate::{
    cloudflare::CloudflareSettings,
    routes::{Mode, RouteSettings},
};

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the records and the tunnel are.
    pub cloudflare: CloudflareSettings,
    /// The namespace of the sessions' claims and of the Lease.
    pub namespace: String,
    /// What the IngressRoutes are made of.
    pub routes: RouteSettings,
    /// The address of the health listener.
    pub health: SocketAddr,
    /// `KUBECONFIG`: one path, or several.
    pub kubeconfig: Option<OsString>,
    /// `LOG_LEVEL`: tracing directives.
    pub log_level: String,
    /// `LOG_FORMAT`.
    pub log_format: LogFormat,
    /// Sentences about variables that have no effect, and about risks.
    pub notices: Vec<String>,
    /// The text of each variable, for [`listing`](Config::listing); no secrets.
    texts: BTreeMap<&'static str, String>,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Everything that is wrong with a configuration: one sentence each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The configuration is wrong:")?;
        self.0.iter().try_for_each(|problem| writeln!(f, "- {problem}"))?;
        write!(f, "`opencode-cloudflare-operator --help` lists all variables.")
    }
}

impl std::error::Error for Problems {}

impl Config {
    /// Loads the configuration of this process.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_process() -> Result<Self, Problems> {
        Self::load(std::env::vars_os())
    }

    /// Loads the configuration from an environment.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, Problems> {
        let (mut texts, mut problems) = (BTreeMap::new(), Vec::new());
        for (name, value) in environment {
            let Some(variable) = VARIABLES.iter().find(|variable| name == OsStr::new(variable.name)) else {
                continue;
            };
            match value.into_string() {
                Ok(value) => drop(texts.insert(variable.name, value.trim().to_owned())),
                Err(_) => problems.push(format!("{} is not UTF-8 text.", variable.name)),
            }
        }
        // As in the TypeScript operator, an empty variable is not set.
        texts.retain(|_, text| !text.is_empty());
        check(texts, problems)
    }

    /// Returns the effective values, one line each. Secrets are not shown.
    #[must_use]
    pub fn listing(&self) -> String {
        let line = |variable: &Variable| {
            let text = self.texts.get(variable.name);
            let (value, origin) = match (text, variable.default) {
                (Some(text), _) => (text.as_str(), "environment"),
                (None, DefaultValue::Text(text)) => (text, "default"),
                (None, DefaultValue::Derived(_)) => (self.derived(variable.name), "default"),
                (None, DefaultValue::Required | DefaultValue::NoEffect) => ("", "not set"),
            };
            format!("{}={value}  ({origin})\n", variable.name)
        };
        let notices = self.notices.iter().map(|notice| format!("note: {notice}\n"));
        VARIABLES.iter().map(line).chain(notices).collect()
    }

    fn derived(&self, name: &str) -> &str {
        match name {
            "INGRESSROUTE_NAMESPACE" => &self.routes.namespace,
            "ATTACH_SERVICE_NAME" => &self.routes.attach_service,
            _ => "",
        }
    }
}

fn check(mut texts: BTreeMap<&'static str, String>, problems: Vec<String>) -> Result<Config, Problems> {
    let mut read = Reader::new(&texts, problems);
    let names = read.host_names();
    let cloudflare = CloudflareSettings {
        api_url: read.url("CF_API_URL").trim_end_matches('/').to_owned(),
        token: read.token("CF_API_TOKEN"),
        zone_id: read.id("CF_ZONE_ID", "023e105f4ecef8ad9ca31a8372d0c353"),
        tunnel_id: read.id("CF_TUNNEL_ID", "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415"),
        service_url: read.url("ROUTER_SERVICE_URL"),
        names: read.scheme(&names),
    };
    let namespace = read.object_name("WATCH_NAMESPACE");
    let router_service = read.object_name("ROUTER_SERVICE_NAME");
    let routes = RouteSettings {
        mode: read.choice("ROUTES", &[("per-session", Mode::PerSession), ("wildcard", Mode::Wildcard)]),
        namespace: read.object_name_or("INGRESSROUTE_NAMESPACE", &namespace),
        claims_namespace: namespace.clone(),
        names,
        middleware: read.object_name("OAUTH2_CHAIN_MIDDLEWARE"),
        attach_service: read.object_name_or("ATTACH_SERVICE_NAME", &format!("{router_service}-attach")),
        router_service,
        attach_port: Some(read.port("ATTACH_SERVICE_PORT", 0)).filter(|port| *port != 0),
        signin_service: read.object_name("SIGNIN_SERVICE_NAME"),
        signin_namespace: read.object_name("SIGNIN_SERVICE_NAMESPACE"),
    };
    let health = SocketAddr::new(read.address("LISTEN_ADDRESS"), read.port("HEALTH_PORT", 0));
    let log_format = read.choice("LOG_FORMAT", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    let log_level = read.directives("LOG_LEVEL");
    let problems = read.finish();
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    for variable in VARIABLES.iter().filter(|variable| variable.secret) {
        texts.entry(variable.name).and_modify(|text| "(set, not shown)".clone_into(text));
    }
    Ok(Config {
        notices: notices(&texts, &cloudflare, &routes),
        kubeconfig: texts.get("KUBECONFIG").map(OsString::from),
        cloudflare,
        namespace,
        routes,
        health,
        log_level,
        log_format,
        texts,
    })
}

/// Returns a sentence for each variable that is set but has no effect, and for each risk.
fn notices(
    texts: &BTreeMap<&'static str, String>,
    cloudflare: &CloudflareSettings,
    routes: &RouteSettings,
) -> Vec<String> {
    let without_effect = VARIABLES
        .iter()
        .filter(|variable| variable.default == DefaultValue::NoEffect && texts.contains_key(variable.name));
    let mut notices: Vec<String> = without_effect
        .map(|variable| format!("{} has no effect. {}", variable.name, variable.about.replace('`', "")))
        .collect();
    if routes.namespace != routes.claims_namespace {
        notices.push(format!(
            "INGRESSROUTE_NAMESPACE ({}) is not WATCH_NAMESPACE ({}), so Kubernetes does not remove a \
             session's IngressRoutes with its claim. The operator removes them while it runs.",
            routes.namespace, routes.claims_namespace
        ));
    }
    if cloudflare.api_url.starts_with("http://") {
        notices.push("CF_API_URL is not https, so the token travels in clear text.".to_owned());
    }
    notices
}
