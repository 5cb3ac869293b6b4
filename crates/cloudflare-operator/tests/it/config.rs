//! The configuration: defaults, problems, secrets; and the page that documents it.

use std::{ffi::OsString, fs};

use clap::CommandFactory as _;
use cloudflare_operator::{
    cli::Arguments,
    config::{Config, Problems, variables::VARIABLES},
    routes::Mode,
};

const REQUIRED: [(&str, &str); 5] = [
    ("CF_API_TOKEN", "a-secret-token"),
    ("CF_ZONE_ID", "023e105f4ecef8ad9ca31a8372d0c353"),
    ("CF_TUNNEL_ID", "f70ff985-a4ef-4643-bbbc-4a0ed4fc8415"),
    ("DOMAIN", "Example.org"),
    ("ROUTER_SERVICE_URL", "http://traefik-controller.traefik-system.svc.cluster.local:80"),
];

fn load(changes: &[(&str, &str)]) -> Result<Config, Problems> {
    let variables = REQUIRED.iter().chain(changes);
    Config::load(variables.map(|(name, value)| (OsString::from(name), OsString::from(value))))
}

#[test]
fn the_defaults_are_those_of_the_typescript_operator() {
    let config = load(&[]).expect("a configuration");
    assert_eq!(config.namespace, "opencode-router");
    let routes = &config.routes;
    assert_eq!((routes.mode, routes.namespace.as_str()), (Mode::PerSession, "opencode-router"));
    assert_eq!(routes.names.domain, "example.org");
    assert_eq!((routes.names.suffix.as_str(), routes.names.attach_prefix.as_str()), ("", "attach-"));
    assert_eq!(routes.middleware, "opencode-router-oauth2-chain");
    assert_eq!(routes.router_service, "opencode-router");
    assert_eq!((routes.attach_service.as_str(), routes.attach_port), ("opencode-router-attach", Some(4096)));
    assert_eq!(routes.signin_service, "oauth2-proxy-users");
    assert_eq!(routes.signin_namespace, "oauth2-proxy");
    assert_eq!(config.cloudflare.api_url, "https://api.cloudflare.com/client/v4");
    assert_eq!(config.health.port(), 8081, "not the router's port");
    assert_eq!(config.notices, Vec::<String>::new());
}

#[test]
fn the_homelabs_variables_are_taken_as_they_are() {
    let config = load(&[
        ("ROUTER_ADMIN_URL", "http://code.code.svc.cluster.local:80"),
        ("ROUTER_ADMIN_SECRET", "an-admin-secret"),
        ("ROUTE_SUFFIX", "-oc"),
        ("WATCH_NAMESPACE", "code"),
        ("POD_LABEL_SELECTOR", "app.kubernetes.io/managed-by=opencode-router"),
        ("OAUTH2_CHAIN_MIDDLEWARE", "code-oauth2-chain"),
        ("ROUTER_SERVICE_NAME", "code"),
        ("ATTACH_ROUTE_PREFIX", ""),
    ])
    .expect("a configuration");
    assert_eq!((config.namespace.as_str(), config.routes.namespace.as_str()), ("code", "code"));
    assert_eq!(config.routes.attach_service, "code-attach");
    assert_eq!(config.routes.names.attach_prefix, "attach-", "an empty variable is not set");
    let named: Vec<&str> =
        config.notices.iter().map(|notice| notice.split(' ').next().expect("a word")).collect();
    assert_eq!(named, ["ROUTER_ADMIN_URL", "ROUTER_ADMIN_SECRET", "POD_LABEL_SELECTOR"]);
    let shown = format!("{config:?}{}", config.listing());
    assert!(!shown.contains("an-admin-secret") && !shown.contains("a-secret-token"), "{shown}");
    assert!(config.listing().contains("ROUTE_SUFFIX=-oc  (environment)"), "{}", config.listing());
    assert!(config.listing().contains("CF_API_TOKEN=(set, not shown)"), "{}", config.listing());
}

#[test]
fn all_problems_are_reported_at_once_each_with_an_example() {
    let Problems(problems) = Config::load([]).expect_err("nothing is set");
    for (name, _) in REQUIRED {
        let problem = problems.iter().find(|problem| problem.starts_with(&format!("{name} is not set")));
        assert!(
            problem.is_some_and(|problem| problem.contains(&format!("Example: {name}="))),
            "{problems:?}"
        );
    }
    assert_eq!(problems.len(), REQUIRED.len(), "{problems:?}");
}

#[test]
fn a_wrong_value_is_named() {
    for (name, value, reason) in [
        ("CF_API_TOKEN", "two words", "character"),
        ("CF_ZONE_ID", "../zones", "letters, digits"),
        ("CF_API_URL", "ftp://x", "http or https"),
        ("ROUTER_SERVICE_URL", "traefik:80", "http or https"),
        ("DOMAIN", "example.org:8080", "port"),
        ("DOMAIN", "exa mple", "invalid"),
        ("ROUTE_SUFFIX", "-o`c", "invalid"),
        ("ROUTE_SUFFIX", "_oc", "'_'"),
        ("ATTACH_ROUTE_PREFIX", "4096-", "port"),
        ("WATCH_NAMESPACE", "Code", "name of Kubernetes"),
        ("ATTACH_SERVICE_PORT", "70000", "port"),
        ("HEALTH_PORT", "x", "port"),
        ("LISTEN_ADDRESS", "localhost", "IP address"),
        ("ROUTES", "all", "`per-session` or `wildcard`"),
        ("LOG_LEVEL", "=,=", "level"),
        ("LOG_FORMAT", "xml", "`text` or `json`"),
    ] {
        let Problems(problems) = load(&[(name, value)]).expect_err(value);
        assert!(
            problems.iter().all(|problem| problem.starts_with(name)) && problems[0].contains(reason),
            "{name}={value}: {problems:?}"
        );
        assert!(!problems.join("").contains("a-secret-token"), "{problems:?}");
    }
}

#[test]
fn another_namespace_for_ingress_routes_is_a_risk_that_is_reported() {
    let config = load(&[("INGRESSROUTE_NAMESPACE", "edge"), ("CF_API_URL", "http://cloudflare.test/v4/")]);
    let config = config.expect("a configuration");
    assert_eq!(config.cloudflare.api_url, "http://cloudflare.test/v4");
    assert!(config.notices[0].contains("INGRESSROUTE_NAMESPACE (edge)"), "{:?}", config.notices);
    assert!(config.notices[1].contains("clear text"), "{:?}", config.notices);
}

#[test]
fn the_page_and_the_help_have_every_variable() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cloudflare-operator.md");
    let page = fs::read_to_string(page).expect("the page");
    let rows = VARIABLES.iter().map(|variable| {
        let default = variable.default_text();
        format!("| `{}` | {default} | {} | {} |\n", variable.name, variable.unit, variable.about)
    });
    let header = "| variable | default | unit | what it does |\n|---|---|---|---|\n";
    let table: String = [header.to_owned()].into_iter().chain(rows).collect();
    assert!(page.contains(&table), "docs/cloudflare-operator.md should contain this table:\n\n{table}");
    let help = Arguments::command().render_long_help().to_string();
    for variable in VARIABLES {
        assert!(help.contains(&format!("\n  {}\n", variable.name)), "{} is not in\n{help}", variable.name);
    }
    assert!(!Arguments::command().render_help().to_string().contains("CF_ZONE_ID"), "-h stays short");
}
