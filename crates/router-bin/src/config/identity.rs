//! The variables that say who asks, and who the administrators are.

use std::net::IpAddr;

use ipnet::IpNet;
use session_key::Identity;

use super::{
    model::IdentitySource,
    reader::{Reader, list},
};
use crate::administrators::Administrators;

impl Reader<'_> {
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
}
