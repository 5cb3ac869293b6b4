//! From texts to checked values. A wrong value becomes a sentence that names the variable, says what is wrong
//! and gives an example. Reading continues, so that all problems are seen at once.

use std::{collections::BTreeMap, net::IpAddr};

use session_key::HostScheme;

use super::variables::{DefaultValue, VARIABLES};
use crate::routes::HostNames;

pub(super) struct Reader<'a> {
    texts: &'a BTreeMap<&'static str, String>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(texts: &'a BTreeMap<&'static str, String>, problems: Vec<String>) -> Self {
        Self { texts, problems }
    }

    pub(super) fn finish(self) -> Vec<String> {
        self.problems
    }

    /// Adds the sentence "`name` `problem`.", with an example of a value.
    fn problem(&mut self, name: &str, problem: &str, example: &str) {
        self.problems.push(format!("{name} {problem}. Example: {name}={example}"));
    }

    /// Returns the text of a variable, or its default.
    fn text(&self, name: &str) -> &'a str {
        let default = || {
            let variable = VARIABLES.iter().find(|variable| variable.name == name);
            match variable.map(|variable| variable.default) {
                Some(DefaultValue::Text(text)) => text,
                _ => "",
            }
        };
        self.texts.get(name).map_or_else(default, String::as_str)
    }

    pub(super) fn required(&mut self, name: &'static str, example: &str) -> &'a str {
        let text = self.text(name);
        if text.is_empty() {
            self.problem(name, "is not set", example);
        }
        text
    }

    pub(super) fn token(&mut self, name: &'static str) -> String {
        let text = self.required(name, "the token that Cloudflare's dashboard showed once");
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.problem(name, "contains a character that no token contains", "the token alone, in one line");
        }
        text.to_owned()
    }

    /// Reads an id of Cloudflare's, which becomes a segment of a path.
    pub(super) fn id(&mut self, name: &'static str, example: &str) -> String {
        let text = self.required(name, example);
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            self.problem(name, &format!("is {text:?} and must be letters, digits and '-'"), example);
        }
        text.to_owned()
    }

    pub(super) fn url(&mut self, name: &'static str) -> String {
        let example = "http://traefik-controller.traefik-system.svc.cluster.local:80";
        let text = self.required(name, example);
        let is_url = reqwest::Url::parse(text)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !text.is_empty() && !is_url {
            self.problem(name, &format!("is {text:?} and must be an http or https URL"), example);
        }
        text.to_owned()
    }

    pub(super) fn host_names(&mut self) -> HostNames {
        let domain = self.required("DOMAIN", "example.org").to_ascii_lowercase();
        let suffix = self.text("ROUTE_SUFFIX").to_ascii_lowercase();
        let attach_prefix = self.text("ATTACH_ROUTE_PREFIX").to_ascii_lowercase();
        if domain.contains(':') {
            self.problem("DOMAIN", "has a port; records and rules have none", "example.org");
        }
        for (name, text, example) in
            [("ROUTE_SUFFIX", &suffix, "-oc"), ("ATTACH_ROUTE_PREFIX", &attach_prefix, "attach-")]
        {
            if text.contains('_') {
                self.problem(name, "contains '_', which names of Kubernetes objects do not allow", example);
            }
        }
        HostNames { domain, suffix, attach_prefix }
    }

    /// Returns the scheme of these names. The parts are checked one after the other, so that the problem
    /// names the one at fault; then the scheme is one of another domain.
    pub(super) fn scheme(&mut self, names: &HostNames) -> HostScheme {
        let HostNames { domain, suffix, attach_prefix } = names;
        let fallback = HostScheme::new("example.org", "", "attach-");
        let scheme = HostScheme::new(domain, suffix, attach_prefix);
        if let Err(error) = HostScheme::new(domain, "", "attach-") {
            if !domain.is_empty() {
                self.problem("DOMAIN", &format!("is invalid ({error})"), "example.org");
            }
        } else if let Err(error) = HostScheme::new(domain, suffix, "attach-") {
            self.problem("ROUTE_SUFFIX", &format!("is invalid ({error})"), "-oc");
        } else if let Err(error) = &scheme {
            self.problem("ATTACH_ROUTE_PREFIX", &format!("is invalid ({error})"), "attach-");
        }
        scheme.or(fallback).expect("the fallback is valid")
    }

    /// Reads the name of a namespace, a Service or a Middleware (RFC 1123 labels).
    pub(super) fn object_name(&mut self, name: &'static str) -> String {
        let text = self.text(name);
        let is_valid = (1..=63).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if !is_valid {
            let problem = format!("is {text:?}, which is not a name of Kubernetes: a-z, 0-9 and '-'");
            self.problem(name, &problem, "opencode");
        }
        text.to_owned()
    }

    /// Reads a name whose default depends on another variable, which is checked by itself.
    pub(super) fn object_name_or(&mut self, name: &'static str, default: &str) -> String {
        if self.texts.contains_key(name) { self.object_name(name) } else { default.to_owned() }
    }

    pub(super) fn port(&mut self, name: &'static str, min: u16) -> u16 {
        match self.text(name).parse() {
            Ok(port) if port >= min => port,
            _ => {
                self.problem(name, &format!("must be a port: a number from {min} to 65535"), "8081");
                0
            }
        }
    }

    pub(super) fn address(&mut self, name: &'static str) -> IpAddr {
        let text = self.text(name);
        text.trim_matches(['[', ']']).parse().unwrap_or_else(|_| {
            self.problem(name, &format!("is {text:?}, which is not an IP address"), "0.0.0.0");
            IpAddr::from([0, 0, 0, 0])
        })
    }

    /// Reads one of the given words. Any other text is a problem, and the first word's value is returned.
    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> T {
        let text = self.text(name);
        if let Some((_, value)) = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
            return *value;
        }
        let list: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        self.problem(name, &format!("is {text:?} and must be {}", list.join(" or ")), words[0].0);
        words[0].1
    }

    pub(super) fn directives(&mut self, name: &'static str) -> String {
        let text = self.text(name);
        if tracing_subscriber::EnvFilter::try_new(text).is_err() {
            let problem = "is neither a level (error, warn, info, debug, trace) nor tracing directives";
            self.problem(name, problem, "info,cloudflare_operator=debug");
        }
        text.to_owned()
    }
}
