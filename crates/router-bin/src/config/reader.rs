//! From texts to checked values. A wrong value becomes a sentence that names the variable, says what is wrong
//! and gives an example. Reading continues, so that the operator sees all problems at once.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use github::ApiUrl;
use ipnet::IpNet;
use session_key::{HostScheme, Identity, RepoPolicy, RepoUrl};

use super::{
    layers::{KUBERNETES, Layers, Origin},
    model::{IdentitySource, Names, Secret},
};
use crate::administrators::Administrators;

pub(super) struct Reader<'a> {
    pub(super) layers: &'a Layers,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: &'a Layers) -> Self {
        Self { layers, problems: Vec::new() }
    }

    pub(super) fn finish(self) -> Vec<String> {
        self.problems
    }

    /// Adds the sentence "`name` `problem`.", with an example of a value.
    pub(super) fn problem(&mut self, name: &str, problem: &str, example: &str) {
        let file = match self.layers.origin(name) {
            Origin::File(path) => format!(" (in {path})"),
            Origin::Default | Origin::Environment => String::new(),
        };
        let example = if example.is_empty() { String::new() } else { format!(" Example: {name}={example}") };
        self.problems.push(format!("{name}{file} {problem}.{example}"));
    }

    pub(super) fn text(&self, name: &'static str) -> &'a str {
        self.layers.text(name).unwrap_or_default()
    }

    pub(super) fn on_kubernetes(&mut self) -> bool {
        self.choice("BACKEND", &[("local", false), (KUBERNETES, true)])
    }

    /// Reads the addresses to listen on; unless `allow_any`, only loopback addresses.
    pub(super) fn addresses(&mut self, name: &'static str, allow_any: bool) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for text in list(self.text(name)) {
            match text.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(address) if addresses.contains(&address) => {}
                Ok(address) => addresses.push(address),
                Err(_) => {
                    self.problem(
                        name,
                        &format!("contains {text:?}, which is not an IP address"),
                        "127.0.0.1,::1",
                    );
                }
            }
        }
        if addresses.is_empty() && self.problems.is_empty() {
            self.problem(name, "contains no address", "127.0.0.1");
        }
        if let Some(open) = addresses.iter().find(|address| !allow_any && !address.is_loopback()) {
            let problem = format!(
                "contains {open}, which other machines can reach. With BACKEND=local, sessions run as your \
                 own user, so only loopback addresses are accepted"
            );
            self.problem(name, &problem, "127.0.0.1");
        }
        addresses
    }

    pub(super) fn port(&mut self, name: &'static str) -> u16 {
        self.text(name).parse().unwrap_or_else(|_| {
            self.problem(name, "must be a port: a number from 1 to 65535, or 0 for any free port", "3000");
            0
        })
    }

    /// Reads the port of the listener for reports, which must differ from the other ports; `None` if it is
    /// off.
    pub(super) fn report_port(&mut self, name: &'static str, others: [u16; 2]) -> Option<u16> {
        if self.text(name) == "off" {
            return None;
        }
        let port = self.port(name);
        if port != 0 && others.contains(&port) {
            self.problem(name, "is the same as PORT or HEALTH_PORT", "3002");
        }
        Some(port)
    }

    /// Reads the port of the attach listener: `None` if it is off, or if the public listener serves attach
    /// hosts at the same port.
    pub(super) fn attach_port(&mut self, name: &'static str, public: u16) -> Option<u16> {
        if self.text(name) == "off" {
            return None;
        }
        Some(self.port(name)).filter(|&port| port != public || port == 0)
    }

    /// Reads how long an attach token is valid by default and at most.
    pub(super) fn attach_token_lifetimes(&mut self) -> (Duration, Duration) {
        let default = self.days("ATTACH_TOKEN_DAYS");
        let max = self.days("MAX_ATTACH_TOKEN_DAYS");
        if default > max {
            self.problem("ATTACH_TOKEN_DAYS", "is longer than MAX_ATTACH_TOKEN_DAYS", "30");
        }
        (default, max)
    }

    fn days(&mut self, name: &'static str) -> Duration {
        match self.text(name).parse::<u64>() {
            Ok(days) if (1..=366).contains(&days) => Duration::from_secs(days * 24 * 60 * 60),
            _ => {
                self.problem(name, "must be a whole number of days from 1 to 366", "30");
                Duration::from_secs(24 * 60 * 60)
            }
        }
    }

    pub(super) fn minutes(&mut self, name: &'static str) -> Duration {
        match self.text(name).parse::<f64>() {
            Ok(minutes) if (0.01..=525_600.0).contains(&minutes) => Duration::from_secs_f64(minutes * 60.0),
            _ => {
                self.problem(name, "must be a number of minutes from 0.01 to 525600 (a year)", "30");
                Duration::ZERO
            }
        }
    }

    pub(super) fn seconds(&mut self, name: &'static str) -> Duration {
        match self.text(name).parse::<u64>() {
            Ok(seconds) if seconds <= 3600 => Duration::from_secs(seconds),
            _ => {
                self.problem(name, "must be a whole number of seconds from 0 to 3600", "10");
                Duration::ZERO
            }
        }
    }

    /// Reads names of cookies (RFC 6265 §4.1.1: tokens).
    pub(super) fn cookie_names(&mut self, name: &'static str) -> Vec<String> {
        let is_token = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        };
        let names: Vec<&str> = list(self.text(name)).collect();
        if let Some(invalid) = names.iter().find(|text| !is_token(text)) {
            self.problem(
                name,
                &format!("contains {invalid:?}, which is not a cookie's name"),
                "_oauth2_proxy",
            );
        }
        names.into_iter().map(str::to_owned).collect()
    }

    /// Reads who the administrators are.
    pub(super) fn administrators(&mut self) -> Administrators {
        let mut emails = Vec::new();
        for text in list(self.text("ADMIN_EMAILS")) {
            match Identity::parse(text) {
                Ok(email) => emails.push(email),
                Err(_) => self.problem(
                    "ADMIN_EMAILS",
                    &format!("contains {text:?}, which is no e-mail address"),
                    "root@example.com",
                ),
            }
        }
        let groups = list(self.text("ADMIN_GROUPS")).map(str::to_owned).collect();
        Administrators { emails, groups }
    }

    /// Reads a limit; 0 is no limit.
    pub(super) fn limit<T: FromStr + Default + PartialEq>(&mut self, name: &'static str) -> Option<T> {
        match self.text(name).parse() {
            Ok(limit) => Some(limit).filter(|limit| *limit != T::default()),
            Err(_) => {
                self.problem(name, "must be a whole number, or 0 for no limit", "10");
                None
            }
        }
    }

    pub(super) fn switch(&mut self, name: &'static str) -> bool {
        self.choice(name, &[("false", false), ("true", true)])
    }

    /// Reads one of the given words. Any other text is a problem, and the first word's value is returned.
    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> T {
        let text = self.text(name);
        if let Some((_, value)) = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
            return *value;
        }
        let words_text: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        self.problem(name, &format!("is {text:?} and must be {}", words_text.join(" or ")), words[0].0);
        words[0].1
    }

    pub(super) fn directives(&mut self, name: &'static str) -> String {
        let text = self.text(name);
        if tracing_subscriber::EnvFilter::try_new(text).is_err() {
            self.problem(
                name,
                "is neither a level (error, warn, info, debug, trace) nor tracing directives",
                "info,proxy_core=debug",
            );
        }
        text.to_owned()
    }

    pub(super) fn names(&mut self, port: u16, on_kubernetes: bool) -> Names {
        let domain = self.layers.text("ROUTER_DOMAIN").map(str::to_ascii_lowercase);
        if on_kubernetes && domain.is_none() {
            self.problem(
                "ROUTER_DOMAIN",
                "is not set; on Kubernetes it must be the host name at which browsers reach the router",
                "opencode.example.org",
            );
        }
        let host = domain.as_deref().map_or("localhost", |domain| domain.split(':').next().unwrap_or(domain));
        let is_local = host == "localhost" || host.ends_with(".localhost");
        let proto = match self.layers.text("ROUTER_PROTO") {
            None if is_local => "http",
            None => "https",
            Some(_) => self.choice("ROUTER_PROTO", &[("https", "https"), ("http", "http")]),
        };
        let suffix = self.text("ROUTE_SUFFIX").to_owned();
        let attach_prefix = self.text("ATTACH_ROUTE_PREFIX").to_owned();
        let site = self.layers.text("SITE_HOST").map(str::to_owned);
        let external_domain =
            self.layers.text("OPENCODE_ROUTER_EXTERNAL_DOMAIN").map(str::to_ascii_lowercase);
        let names = Names { proto, domain, external_domain, site, suffix, attach_prefix };
        // The parts are checked one after the other, so that the problem names the one at fault.
        let domain = names.domain.clone().unwrap_or_else(|| "localhost".to_owned());
        if let Err(error) = HostScheme::new(&domain, "", "attach-") {
            self.problem("ROUTER_DOMAIN", &format!("is invalid ({error})"), "opencode-router.example.org");
        } else if let Err(error) = HostScheme::new(&domain, &names.suffix, "attach-") {
            self.problem("ROUTE_SUFFIX", &format!("is invalid ({error})"), "-oc");
        } else if let Err(error) = names.scheme(port.max(1)) {
            self.problem("ATTACH_ROUTE_PREFIX", &format!("is invalid ({error})"), "attach-");
        } else if !names.has_valid_site(port.max(1)) {
            let problem = "is not a host name of the site: it must be ROUTER_DOMAIN, or a name below it that is \
                           no session's";
            self.problem("SITE_HOST", problem, "code.example.org");
        } else if let Err(error) = names.session_addresses(port.max(1)) {
            let problem = format!("is invalid ({error})");
            self.problem("OPENCODE_ROUTER_EXTERNAL_DOMAIN", &problem, "opencode-router.example.org");
        }
        names
    }

    pub(super) fn identity(&mut self, listen: &[IpAddr]) -> Option<IdentitySource> {
        let proxies = self.networks("TRUSTED_PROXIES");
        let secret = self.secret("TRUSTED_PROXY_SECRET");
        // The TypeScript router knew DEV_EMAIL only.
        let is_dev = self.layers.chosen("IDENTITY").is_none() && self.layers.chosen("DEV_EMAIL").is_some();
        match if is_dev { "dev" } else { self.text("IDENTITY") } {
            "headers" => {
                if proxies.is_empty() && secret.is_none() {
                    self.problem(
                        "TRUSTED_PROXIES",
                        "is not set, and neither is TRUSTED_PROXY_SECRET. With IDENTITY=headers, set at \
                         least one of them to say whose identity headers are accepted",
                        "127.0.0.1/32",
                    );
                }
                if self.layers.chosen("DEV_EMAIL").is_some() {
                    self.problem(
                        "DEV_EMAIL",
                        "is the only user of IDENTITY=dev and contradicts IDENTITY=headers. Unset one of \
                         them",
                        "",
                    );
                }
                Some(IdentitySource::Headers { proxies, secret })
            }
            other => {
                match other {
                    "dev" => {}
                    "jwt" => self.problem(
                        "IDENTITY",
                        "is `jwt`, which is reserved for a later release; this one has `dev` and `headers`",
                        "headers",
                    ),
                    _ => self.problem("IDENTITY", "must be `dev` or `headers`", "dev"),
                }
                for name in ["TRUSTED_PROXIES", "TRUSTED_PROXY_SECRET"] {
                    if other == "dev" && self.layers.chosen(name).is_some() {
                        let problem = "has no effect with IDENTITY=dev. Unset it, or set IDENTITY=headers";
                        self.problem(name, problem, "");
                    }
                }
                if listen.iter().any(|address| !address.is_loopback()) {
                    self.problem(
                        "DEV_EMAIL",
                        "makes everyone who reaches the router the same user, so every listener must be on \
                         loopback. Set LISTEN_ADDRESS to a loopback address, or IDENTITY=headers",
                        "me@example.org",
                    );
                }
                self.dev()
            }
        }
    }

    fn dev(&mut self) -> Option<IdentitySource> {
        Identity::parse(self.text("DEV_EMAIL"))
            .map(IdentitySource::Dev)
            .map_err(|error| self.problem("DEV_EMAIL", &format!("is invalid: {error}"), "me@example.org"))
            .ok()
    }

    fn networks(&mut self, name: &'static str) -> Vec<IpNet> {
        const EXAMPLE: &str = "10.42.0.0/16,::1";
        let mut networks = Vec::new();
        for text in list(self.text(name)) {
            match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
                Ok(network) if network.prefix_len() == 0 => {
                    self.problem(name, &format!("contains {text}, which is everybody"), EXAMPLE);
                }
                Ok(network) => networks.push(network),
                Err(_) => {
                    let problem = format!("contains {text:?}, which is neither an IP address nor a CIDR");
                    self.problem(name, &problem, EXAMPLE);
                }
            }
        }
        networks
    }

    /// Reads a secret, long enough to be hard to guess.
    pub(super) fn secret(&mut self, name: &'static str) -> Option<Secret> {
        let text = self.layers.chosen(name)?;
        if text.len() < 16 {
            self.problem(name, "is shorter than 16 characters", "$(openssl rand -hex 32)");
        }
        Some(Secret(text.to_owned()))
    }

    pub(super) fn repository(&mut self, name: &'static str, policy: RepoPolicy) -> Option<RepoUrl> {
        let text = self.layers.chosen(name)?;
        RepoUrl::parse(text, policy)
            .map_err(|error| {
                self.problem(name, &format!("is invalid: {error}"), "https://github.com/acme/widgets");
            })
            .ok()
    }

    pub(super) fn github_api(&mut self, name: &'static str) -> ApiUrl {
        ApiUrl::parse(self.text(name)).unwrap_or_else(|error| {
            self.problem(name, &error.to_string(), "https://github.example.org/api/v3");
            ApiUrl::default()
        })
    }

    pub(super) fn state_dir(&mut self, environment: &BTreeMap<String, String>) -> PathBuf {
        let example = "/var/lib/opencode-router";
        if let Some(text) = self.layers.chosen("STATE_DIR") {
            let path = PathBuf::from(text);
            if !path.is_absolute() {
                self.problem("STATE_DIR", "must be an absolute path", example);
            }
            return path;
        }
        // By the base directory specification, a relative path there counts as not set.
        let absolute =
            |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        match absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share"))) {
            Some(data) => data.join("opencode-router"),
            None => {
                self.problem("STATE_DIR", "is not set, and neither is XDG_DATA_HOME or HOME", example);
                PathBuf::new()
            }
        }
    }

    /// Reads a program's path, or its name on the PATH. Startup checks that it can be run.
    pub(super) fn program(
        &mut self,
        name: &'static str,
        default: &str,
        environment: &BTreeMap<String, String>,
    ) -> PathBuf {
        let text = self.layers.chosen(name).unwrap_or(default);
        if text.contains('/') {
            // Sessions run in folders of their own, so a relative path would change its meaning.
            return std::path::absolute(text).unwrap_or_else(|_| PathBuf::from(text));
        }
        let folders = environment.get("PATH").map(String::as_str).unwrap_or_default();
        std::env::split_paths(folders)
            .map(|folder| folder.join(text))
            .find(|path| path.is_absolute() && is_program(path))
            .unwrap_or_else(|| PathBuf::from(text))
    }
}

/// Returns the parts of a comma-separated list.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
