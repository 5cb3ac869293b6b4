//! From texts to values. What is wrong becomes a sentence that names the variable, says what is wrong
//! and gives an example; the reading goes on, so that a person sees all of it at once.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use ipnet::IpNet;
use session_key::{HostScheme, Identity, RepoPolicy, RepoUrl};

use super::{
    IdentitySource, Names, Secret,
    layers::{KUBERNETES, Layers, Origin},
};

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

    /// Notes that a variable `is …`, with an example of what it may be.
    pub(super) fn wrong(&mut self, name: &str, what: &str, example: &str) {
        let place = match self.layers.origin(name) {
            Origin::File(path) => format!(" (in {path})"),
            Origin::Default | Origin::Environment => String::new(),
        };
        let example = if example.is_empty() { String::new() } else { format!(" Example: {name}={example}") };
        self.problems.push(format!("{name}{place} {what}.{example}"));
    }

    pub(super) fn text(&self, name: &'static str) -> &'a str {
        self.layers.text(name).unwrap_or_default()
    }

    /// Whether sessions are Pods.
    pub(super) fn on_kubernetes(&mut self) -> bool {
        self.choice("BACKEND", &[("local", false), (KUBERNETES, true)])
    }

    /// Where it listens; `open`: others may reach it.
    pub(super) fn addresses(&mut self, name: &'static str, open: bool) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for text in list(self.text(name)) {
            match text.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(address) if addresses.contains(&address) => {}
                Ok(address) => addresses.push(address),
                Err(_) => {
                    self.wrong(name, &format!("holds {text:?}, which is not an IP address"), "127.0.0.1,::1");
                }
            }
        }
        if addresses.is_empty() && self.problems.is_empty() {
            self.wrong(name, "names no address", "127.0.0.1");
        }
        if let Some(open) = addresses.iter().find(|address| !open && !address.is_loopback()) {
            self.wrong(
                name,
                &format!("holds {open}, which other machines reach, and with BACKEND=local sessions run as your own user: \
                    only loopback addresses are taken"),
                "127.0.0.1",
            );
        }
        addresses
    }

    pub(super) fn port(&mut self, name: &'static str) -> u16 {
        self.text(name).parse().unwrap_or_else(|_| {
            self.wrong(name, "must be a port: a number from 1 to 65535, or 0 for any free one", "3000");
            0
        })
    }

    pub(super) fn minutes(&mut self, name: &'static str) -> Duration {
        match self.text(name).parse::<f64>() {
            Ok(minutes) if (0.01..=525_600.0).contains(&minutes) => Duration::from_secs_f64(minutes * 60.0),
            _ => {
                self.wrong(name, "must be a number of minutes from 0.01 to 525600 (a year)", "30");
                Duration::ZERO
            }
        }
    }

    pub(super) fn seconds(&mut self, name: &'static str) -> Duration {
        match self.text(name).parse::<u64>() {
            Ok(seconds) if seconds <= 3600 => Duration::from_secs(seconds),
            _ => {
                self.wrong(name, "must be a whole number of seconds from 0 to 3600", "10");
                Duration::ZERO
            }
        }
    }

    /// Names of cookies (RFC 6265 §4.1.1: tokens).
    pub(super) fn cookie_names(&mut self, name: &'static str) -> Vec<String> {
        let is_token = |one: &&str| {
            one.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        };
        let names: Vec<&str> = list(self.text(name)).collect();
        if let Some(odd) = names.iter().find(|one| !is_token(one)) {
            self.wrong(name, &format!("holds {odd:?}, which can't be a cookie's name"), "_oauth2_proxy");
        }
        names.into_iter().map(str::to_owned).collect()
    }

    /// A limit; `None`, written `0`, is no limit.
    pub(super) fn limit<T: FromStr + Default + PartialEq>(&mut self, name: &'static str) -> Option<T> {
        match self.text(name).parse() {
            Ok(limit) => Some(limit).filter(|limit| *limit != T::default()),
            Err(_) => {
                self.wrong(name, "must be a whole number, or 0 for no limit", "10");
                None
            }
        }
    }

    pub(super) fn switch(&mut self, name: &'static str) -> bool {
        self.choice(name, &[("false", false), ("true", true)])
    }

    /// One of some words; the first where it is none of them.
    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> T {
        let text = self.text(name);
        if let Some((_, value)) = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
            return *value;
        }
        let all: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        self.wrong(name, &format!("is {text:?} and must be {}", all.join(" or ")), words[0].0);
        words[0].1
    }

    pub(super) fn directives(&mut self, name: &'static str) -> String {
        let text = self.text(name);
        if tracing_subscriber::EnvFilter::try_new(text).is_err() {
            self.wrong(
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
            self.wrong(
                "ROUTER_DOMAIN",
                "is not set, and on Kubernetes nothing else tells under which name browsers reach the router",
                "opencode.example.org",
            );
        }
        let name = domain.as_deref().map_or("localhost", |domain| domain.split(':').next().unwrap_or(domain));
        let local = name == "localhost" || name.ends_with(".localhost");
        let proto = match self.layers.text("ROUTER_PROTO") {
            None if local => "http",
            None => "https",
            Some(_) => self.choice("ROUTER_PROTO", &[("https", "https"), ("http", "http")]),
        };
        let suffix = self.text("ROUTE_SUFFIX").to_owned();
        let attach_prefix = self.text("ATTACH_ROUTE_PREFIX").to_owned();
        let names = Names { proto, domain, suffix, attach_prefix };
        // The parts are tried one by one, so that the sentence names the one at fault.
        let whole = names.domain.clone().unwrap_or_else(|| "localhost".to_owned());
        if let Err(error) = HostScheme::new(&whole, "", "attach-") {
            self.wrong("ROUTER_DOMAIN", &format!("is refused ({error})"), "opencode-router.example.org");
        } else if let Err(error) = HostScheme::new(&whole, &names.suffix, "attach-") {
            self.wrong("ROUTE_SUFFIX", &format!("is refused ({error})"), "-oc");
        } else if let Err(error) = names.scheme(port.max(1)) {
            self.wrong("ATTACH_ROUTE_PREFIX", &format!("is refused ({error})"), "attach-");
        }
        names
    }

    pub(super) fn identity(&mut self, listen: &[IpAddr]) -> Option<IdentitySource> {
        let proxies = self.networks("TRUSTED_PROXIES");
        let secret = self.secret("TRUSTED_PROXY_SECRET");
        // DEV_EMAIL alone was how the TypeScript router was told.
        let told = self.layers.chosen("IDENTITY").is_none() && self.layers.chosen("DEV_EMAIL").is_some();
        match if told { "dev" } else { self.text("IDENTITY") } {
            "headers" => {
                if proxies.is_empty() && secret.is_none() {
                    self.wrong(
                        "TRUSTED_PROXIES",
                        "is not set, nor is TRUSTED_PROXY_SECRET, and with IDENTITY=headers one of them must say whose headers count",
                        "127.0.0.1/32",
                    );
                }
                if self.layers.chosen("DEV_EMAIL").is_some() {
                    self.wrong(
                        "DEV_EMAIL",
                        "is the one user of IDENTITY=dev and contradicts IDENTITY=headers: unset one of them",
                        "",
                    );
                }
                Some(IdentitySource::Headers { proxies, secret })
            }
            other => {
                match other {
                    "dev" => {}
                    "jwt" => self.wrong(
                        "IDENTITY",
                        "is `jwt`, which comes later; this release has `dev` and `headers`",
                        "headers",
                    ),
                    _ => self.wrong("IDENTITY", "must be `dev` or `headers`", "dev"),
                }
                for name in ["TRUSTED_PROXIES", "TRUSTED_PROXY_SECRET"] {
                    if other == "dev" && self.layers.chosen(name).is_some() {
                        self.wrong(
                            name,
                            "has no effect with IDENTITY=dev: unset it, or set IDENTITY=headers",
                            "",
                        );
                    }
                }
                if listen.iter().any(|address| !address.is_loopback()) {
                    self.wrong(
                        "DEV_EMAIL",
                        "makes everyone who reaches the router one and the same user, so it is refused unless every listener is on \
                         loopback; set LISTEN_ADDRESS to one, or IDENTITY=headers",
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
            .map_err(|error| self.wrong("DEV_EMAIL", &format!("is refused: {error}"), "me@example.org"))
            .ok()
    }

    fn networks(&mut self, name: &'static str) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for text in list(self.text(name)) {
            match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
                Ok(network) if network.prefix_len() == 0 => {
                    self.wrong(name, &format!("holds {text}, which is everybody"), "10.42.0.0/16,::1");
                }
                Ok(network) => networks.push(network),
                Err(_) => {
                    self.wrong(
                        name,
                        &format!("holds {text:?}, which is neither an IP address nor a CIDR"),
                        "10.42.0.0/16,::1",
                    );
                }
            }
        }
        networks
    }

    /// A text that is hard to guess; nothing where none is given.
    pub(super) fn secret(&mut self, name: &'static str) -> Option<Secret> {
        let text = self.layers.chosen(name)?;
        if text.len() < 16 {
            self.wrong(name, "is shorter than 16 characters", "$(openssl rand -hex 32)");
        }
        Some(Secret(text.to_owned()))
    }

    pub(super) fn repository(&mut self, name: &'static str, policy: RepoPolicy) -> Option<RepoUrl> {
        let text = self.layers.chosen(name)?;
        RepoUrl::parse(text, policy)
            .map_err(|error| {
                self.wrong(name, &format!("is refused: {error}"), "https://github.com/acme/widgets");
            })
            .ok()
    }

    pub(super) fn state_dir(&mut self, environment: &BTreeMap<String, String>) -> PathBuf {
        let example = "/var/lib/opencode-router";
        if let Some(text) = self.layers.chosen("STATE_DIR") {
            let path = PathBuf::from(text);
            if !path.is_absolute() {
                self.wrong("STATE_DIR", "must be an absolute path", example);
            }
            return path;
        }
        // The base-directory specification: a relative path there counts as not set.
        let absolute =
            |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        match absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share"))) {
            Some(data) => data.join("opencode-router"),
            None => {
                self.wrong(
                    "STATE_DIR",
                    "is not set, and neither XDG_DATA_HOME nor HOME tells where data belongs",
                    example,
                );
                PathBuf::new()
            }
        }
    }

    /// A program by its path, or by its name on the PATH. That it can be run is for the start to find out.
    pub(super) fn program(
        &mut self,
        name: &'static str,
        default: &str,
        environment: &BTreeMap<String, String>,
    ) -> PathBuf {
        let text = self.layers.chosen(name).unwrap_or(default);
        if text.contains('/') {
            // Sessions run in folders of their own, where a relative path would mean something else.
            return std::path::absolute(text).unwrap_or_else(|_| PathBuf::from(text));
        }
        let folders = environment.get("PATH").map(String::as_str).unwrap_or_default();
        std::env::split_paths(folders)
            .map(|folder| folder.join(text))
            .find(|path| path.is_absolute() && is_program(path))
            .unwrap_or_else(|| PathBuf::from(text))
    }
}

/// The parts of a list with commas between.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}
