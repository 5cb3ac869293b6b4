//! The table of all variables. `--help`, `--check-config` and docs/cloudflare-operator.md are made from it.

/// One variable.
#[derive(Debug)]
pub struct Variable {
    /// Its name in the environment.
    pub name: &'static str,
    /// What applies if it is not set.
    pub default: DefaultValue,
    /// The form of its value: a unit, a kind, or the words to choose from.
    pub unit: &'static str,
    /// What it does, in one or two sentences.
    pub about: &'static str,
    /// Whether its value is never shown.
    pub secret: bool,
}

/// The value of a variable that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// The operator does not start without it.
    Required,
    /// This text.
    Text(&'static str),
    /// A value that depends on another variable or on the machine, described in words.
    Derived(&'static str),
    /// The TypeScript operator read it; this one accepts it without effect.
    NoEffect,
}

impl Variable {
    /// Returns the default in words.
    #[must_use]
    pub fn default_text(&self) -> String {
        match self.default {
            DefaultValue::Required => "required".to_owned(),
            DefaultValue::Text("") => "empty".to_owned(),
            DefaultValue::Text(text) => format!("`{text}`"),
            DefaultValue::Derived(words) => words.to_owned(),
            DefaultValue::NoEffect => "no effect".to_owned(),
        }
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

const fn variable(
    name: &'static str,
    default: DefaultValue,
    unit: &'static str,
    about: &'static str,
) -> Variable {
    Variable { name, default, unit, about, secret: false }
}

use DefaultValue::{Derived, NoEffect, Required, Text};

/// All variables, grouped by what they do.
pub const VARIABLES: &[Variable] = &[
    variable(
        "CF_API_TOKEN",
        Required,
        "Cloudflare API token",
        "Its rights: DNS:Edit and Zone:Read on the zone, Cloudflare Tunnel:Edit on the account.",
    )
    .secret(),
    variable("CF_ZONE_ID", Required, "zone id", "The zone that holds the records of `DOMAIN`."),
    variable(
        "CF_TUNNEL_ID",
        Required,
        "tunnel id",
        "The tunnel that serves the hosts. Records point to `<CF_TUNNEL_ID>.cfargotunnel.com`.",
    ),
    variable(
        "CF_API_URL",
        Text("https://api.cloudflare.com/client/v4"),
        "URL",
        "Where Cloudflare's API is. Only tests change it.",
    ),
    variable("DOMAIN", Required, "host name", "The domain of the sessions: the router's `ROUTER_DOMAIN`."),
    variable("ROUTE_SUFFIX", Text(""), "text", "The router's `ROUTE_SUFFIX`, like `-oc`."),
    variable("ATTACH_ROUTE_PREFIX", Text("attach-"), "text", "The router's `ATTACH_ROUTE_PREFIX`."),
    variable(
        "ROUTES",
        Text("per-session"),
        "`per-session` or `wildcard`",
        "Whether each session has IngressRoutes, records and tunnel rules of its own, or one of each serves \
         all sessions.",
    ),
    variable(
        "ROUTER_SERVICE_URL",
        Required,
        "URL",
        "The service of the tunnel's rules. It must be Traefik and not the router: otherwise requests pass by \
         the sign-in.",
    ),
    variable(
        "WATCH_NAMESPACE",
        Text("opencode-router"),
        "namespace",
        "The namespace of the sessions: the router's `OPENCODE_NAMESPACE`. The Lease is there as well.",
    ),
    variable(
        "INGRESSROUTE_NAMESPACE",
        Derived("`WATCH_NAMESPACE`"),
        "namespace",
        "The namespace of the IngressRoutes, of the middleware and of the router's Services. Only in \
         `WATCH_NAMESPACE` can an IngressRoute belong to its session's claim.",
    ),
    variable(
        "OAUTH2_CHAIN_MIDDLEWARE",
        Text("opencode-router-oauth2-chain"),
        "name of a Middleware",
        "The sign-in that stands before every session host.",
    ),
    variable("ROUTER_SERVICE_NAME", Text("opencode-router"), "name of a Service", "The router, port 80."),
    variable(
        "ATTACH_SERVICE_NAME",
        Derived("`<ROUTER_SERVICE_NAME>-attach`"),
        "name of a Service",
        "The router's attach listener.",
    ),
    variable(
        "ATTACH_SERVICE_PORT",
        Text("4096"),
        "port; 0: no attach hosts",
        "The port of that Service. Never the router's port 80: attach hosts have no sign-in in front.",
    ),
    variable(
        "SIGNIN_SERVICE_NAME",
        Text("oauth2-proxy-users"),
        "name of a Service",
        "oauth2-proxy, port 80: the one that the middleware asks. It starts the sign-in on session hosts.",
    ),
    variable(
        "SIGNIN_SERVICE_NAMESPACE",
        Text("oauth2-proxy"),
        "namespace",
        "The namespace of that Service. Traefik must allow references to other namespaces.",
    ),
    variable(
        "HEALTH_PORT",
        Text("8081"),
        "port; 0 for any free port",
        "The port of `/livez`, `/readyz`, `/healthz` and `/metrics`. The router's own is 8080.",
    ),
    variable("LISTEN_ADDRESS", Text("0.0.0.0"), "IP address", "The address of the health listener."),
    variable(
        "KUBECONFIG",
        Derived("the Pod's service account, else the user's kubeconfig"),
        "path",
        "The cluster, outside of one.",
    ),
    variable(
        "LOG_LEVEL",
        Text("info"),
        "`error`, `warn`, `info`, `debug`, `trace`, or tracing directives",
        "How much is logged.",
    ),
    variable("LOG_FORMAT", Text("text"), "`text` or `json`", "The format of log lines on standard error."),
    variable(
        "ROUTER_ADMIN_URL",
        NoEffect,
        "URL",
        "The TypeScript operator polled the router for ports. One route serves all ports of a session.",
    ),
    variable("ROUTER_ADMIN_SECRET", NoEffect, "text", "The secret for those polls.").secret(),
    variable(
        "POD_LABEL_SELECTOR",
        NoEffect,
        "label selector",
        "Hosts follow the sessions' claims, not their Pods: a stopped session answers as well.",
    ),
    variable("OPENCODE_PORT", NoEffect, "port", "No part of the operator reaches a session."),
    variable("DEV_PORT_ALLOWLIST", NoEffect, "ports", "The router decides which ports it serves."),
];
