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
use session_key::{RepoPolicy, RepoUrl};

use super::{
    layers::{KUBERNETES, Layers, Origin},
    model::Secret,
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
