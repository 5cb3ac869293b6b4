//! Loading the configuration from defaults, file and environment, and its refusals.

mod kubernetes;
mod traces;

use std::{ffi::OsString, io::Write as _, path::Path};

use router_bin::config::{Backend, Config, IdentitySource, LogFormat, Problems, variables};

const HOME: (&str, &str) = ("HOME", "/home/ada");

fn load(file: Option<&Path>, environment: &[(&str, &str)]) -> Result<Config, Problems> {
    let all = [&[HOME], environment].concat();
    Config::load(file, all.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
}

/// Asserts that the configuration is refused with one sentence that contains all of `expected`.
#[track_caller]
fn refused(environment: &[(&str, &str)], expected: &[&str]) {
    let problems = load(None, environment).expect_err("a refusal");
    assert!(
        problems.0.iter().any(|sentence| expected.iter().all(|part| sentence.contains(part))),
        "{expected:?} not in one of {problems:#?}"
    );
}

fn file(ending: &str, text: &str) -> tempfile::TempPath {
    let mut file = tempfile::Builder::new().suffix(ending).tempfile().expect("a file");
    file.write_all(text.as_bytes()).expect("a written file");
    file.into_temp_path()
}

#[test]
fn the_defaults_are_one_user_on_loopback() {
    let config = load(None, &[]).expect("a configuration");
    assert_eq!(config.addresses(), ["127.0.0.1:3000".parse().expect("an address")]);
    assert_eq!(config.health_address().port(), 3001);
    assert_eq!(config.names.proto, "http");
    assert_eq!(config.names.scheme(4711).expect("fits").domain(), "localhost:4711");
    let Backend::Local { state_dir, .. } = &config.backend else { panic!("{config:?}") };
    assert_eq!(state_dir, Path::new("/home/ada/.local/share/opencode-router"));
    assert_eq!(config.idle_timeout.as_secs(), 1800);
    assert_eq!(config.log_format, LogFormat::Text);
    assert!(config.is_single_user());
    assert!(config.notices.is_empty());
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_defaults() {
    let path = file(".toml", "port = 4000\nidle_timeout_minutes = 0.5\nROUTE_SUFFIX = '-oc'\n");
    let config = load(Some(&path), &[("PORT", "5000"), ("ROUTE_SUFFIX", "")]).expect("a configuration");
    assert_eq!(config.port, 5000);
    assert_eq!(config.idle_timeout.as_secs(), 30);
    assert_eq!(config.health_port, 3001);
    let listing = config.listing();
    assert!(listing.contains("ROUTE_SUFFIX=-oc"), "an empty variable counts as not set:\n{listing}");
    let line =
        |name: &str| listing.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("PORT=5000").ends_with("# environment"), "{listing}");
    assert!(line("IDLE_TIMEOUT_MINUTES=0.5").ends_with(".toml"), "{listing}");
    assert!(line("HEALTH_PORT=3001").ends_with("# default"), "{listing}");
}

#[test]
fn a_file_may_be_yaml_and_may_hold_lists() {
    let path = file(
        ".yaml",
        "identity: headers\ntrusted_proxies:\n  - 10.42.0.0/16\n  - ::1\nlog_format: json\n\
         debug_headers: true\n",
    );
    let environment = [("CONFIG_FILE", path.to_str().expect("text"))];
    let config = load(None, &environment).expect("a configuration");
    let IdentitySource::Headers { proxies, secret: None } = &config.identity else { panic!("{config:?}") };
    assert_eq!(proxies.len(), 2);
    assert_eq!(config.log_format, LogFormat::Json);
    assert!(config.debug_headers && !config.is_single_user());
}

#[test]
fn an_unknown_name_in_a_file_is_refused_with_the_nearest_known_one() {
    for (text, meant) in [
        ("router_domian = 'x.org'", "ROUTER_DOMAIN"),
        ("idle_timeout = 3", "IDLE_TIMEOUT_MINUTES"),
        ("prot = 1", "PORT"),
    ] {
        let path = file(".toml", text);
        let problems = load(Some(&path), &[]).expect_err("a refusal");
        assert!(problems.to_string().contains(&format!("Did you mean {meant}?")), "{problems}");
    }
    let path = file(".toml", "colour = 'red'");
    let problems = load(Some(&path), &[]).expect_err("a refusal").to_string();
    assert!(problems.contains("\"colour\"") && !problems.contains("Did you mean"), "{problems}");
}

#[test]
fn the_refusal_of_a_file_names_it() {
    for (ending, text, expected) in [
        (".toml", "port = ", "can't be parsed"),
        (".yaml", "port: [1", "can't be parsed"),
        (".ini", "port=1", "must end in .toml, .yaml or .yml"),
        (".toml", "[port]\nx = 1", "must be one value"),
        (".toml", "config_file = 'x'", "has no effect in a file"),
    ] {
        let path = file(ending, text);
        let problems = load(Some(&path), &[]).expect_err("a refusal").to_string();
        assert!(problems.contains(expected) && problems.contains(path.to_str().expect("text")), "{problems}");
    }
    let problems = load(Some(Path::new("/nowhere/x.toml")), &[]).expect_err("a refusal").to_string();
    assert!(problems.contains("/nowhere/x.toml can't be read"), "{problems}");
}

#[test]
fn a_wrong_value_is_refused_with_its_name_and_an_example() {
    for (name, value, expected) in [
        ("PORT", "http", "number from 1 to 65535"),
        ("PORT", "65536", "number from 1 to 65535"),
        ("HEALTH_PORT", "3000", "same as PORT"),
        ("LISTEN_ADDRESS", "localhost", "not an IP address"),
        ("LISTEN_ADDRESS", "127.0.0.1,0.0.0.0", "only loopback"),
        ("ROUTER_DOMAIN", "http://x.org", "is invalid"),
        ("SITE_HOST", "elsewhere.example.org", "not a host name of the site"),
        ("SITE_HOST", "a48da0606867.localhost", "not a host name of the site"),
        ("ROUTE_SUFFIX", "-oc-", "is invalid"),
        ("ATTACH_ROUTE_PREFIX", "1024-", "is invalid"),
        ("ROUTER_PROTO", "ftp", "`https` or `http`"),
        ("IDLE_TIMEOUT_MINUTES", "0", "minutes from 0.01"),
        ("IDLE_TIMEOUT_MINUTES", "NaN", "minutes from 0.01"),
        ("SHUTDOWN_DELAY_SECONDS", "0.5", "seconds from 0"),
        ("DRAIN_TIMEOUT_SECONDS", "-1", "seconds from 0"),
        ("MAX_SESSIONS_PER_USER", "-1", "0 for no limit"),
        ("MAX_RUNNING_SESSIONS_PER_USER", "many", "0 for no limit"),
        ("MAX_STARTS_PER_MINUTE", "0.5", "0 for no limit"),
        ("DEV_EMAIL", "nobody", "needs a name"),
        ("DEFAULT_GIT_REPO", "https://me:pw@x.org/a", "is invalid"),
        ("STATE_DIR", "state", "absolute path"),
        ("LOG_FORMAT", "xml", "`text` or `json`"),
        ("LOG_LEVEL", "loud=very", "tracing directives"),
        ("DEBUG_HEADERS", "yes", "`false` or `true`"),
        ("BACKEND", "docker", "`local` or `kubernetes`"),
        ("AUDIT_KEY", "short", "shorter than 16"),
        ("IDENTITY", "jwt", "reserved for a later release"),
        ("IDENTITY", "none", "`dev` or `headers`"),
    ] {
        refused(&[(name, value)], &[name, expected, "Example: "]);
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let problems =
        load(None, &[("PORT", "x"), ("LOG_FORMAT", "x"), ("STATE_DIR", "x")]).expect_err("a refusal");
    assert_eq!(problems.0.len(), 3, "{problems}");
}

#[test]
fn the_single_user_is_refused_if_others_can_reach_the_router() {
    refused(&[("LISTEN_ADDRESS", "0.0.0.0"), ("DEV_EMAIL", "me@example.org")], &["DEV_EMAIL", "loopback"]);
    refused(&[("LISTEN_ADDRESS", "127.0.0.1,192.0.2.1")], &["DEV_EMAIL", "loopback"]);
    assert!(load(None, &[("LISTEN_ADDRESS", "127.0.0.1,::1")]).is_ok());
}

#[test]
fn the_local_backend_limits_nobody_by_default() {
    let limits = |config: &Config| (config.max_sessions, config.max_running, config.max_starts_per_minute);
    assert_eq!(limits(&load(None, &[]).expect("a configuration")), (None, None, None));
    let chosen = [
        ("MAX_SESSIONS_PER_USER", "3"),
        ("MAX_RUNNING_SESSIONS_PER_USER", "2"),
        ("MAX_STARTS_PER_MINUTE", "1"),
    ];
    assert_eq!(limits(&load(None, &chosen).expect("a configuration")), (Some(3), Some(2), Some(1)));
}

#[test]
fn auth_cookie_names_must_be_names_of_cookies() {
    refused(&[("AUTH_COOKIE_NAMES", "corp sso")], &["AUTH_COOKIE_NAMES", "cookie's name"]);
    let config = load(None, &[("AUTH_COOKIE_NAMES", "corp_sso, other")]).expect("a configuration");
    assert_eq!(config.auth_cookies, ["corp_sso", "other"]);
}

#[test]
fn identity_headers_need_a_trusted_proxy_or_secret() {
    refused(&[("IDENTITY", "headers")], &["TRUSTED_PROXIES", "TRUSTED_PROXY_SECRET"]);
    refused(&[("IDENTITY", "headers"), ("TRUSTED_PROXIES", "0.0.0.0/0")], &["TRUSTED_PROXIES", "everybody"]);
    refused(
        &[("IDENTITY", "headers"), ("TRUSTED_PROXIES", "10.0.0.0/33")],
        &["neither an IP address nor a CIDR"],
    );
    refused(&[("IDENTITY", "headers"), ("TRUSTED_PROXY_SECRET", "short")], &["shorter than 16"]);
    refused(
        &[("IDENTITY", "headers"), ("TRUSTED_PROXIES", "::1"), ("LISTEN_ADDRESS", "0.0.0.0")],
        &["LISTEN_ADDRESS", "only loopback"],
    );
    refused(&[("IDENTITY", "headers"), ("TRUSTED_PROXIES", "::1"), ("DEV_EMAIL", "a@b")], &["contradicts"]);
    refused(&[("TRUSTED_PROXIES", "::1")], &["TRUSTED_PROXIES", "no effect with IDENTITY=dev"]);
    assert!(load(None, &[("IDENTITY", "headers"), ("TRUSTED_PROXY_SECRET", "0123456789abcdef")]).is_ok());
}

#[test]
fn secrets_are_never_shown() {
    let secret = "correct horse battery";
    let environment = [("IDENTITY", "headers"), ("TRUSTED_PROXY_SECRET", secret), ("ADMIN_SECRET", secret)];
    let config = load(None, &environment).expect("a configuration");
    assert!(!format!("{config:?}").contains("horse"), "{config:?}");
    assert!(!config.listing().contains("horse"), "{}", config.listing());
    assert!(config.listing().contains("TRUSTED_PROXY_SECRET=(set, not shown)"));
    assert!(
        !load(None, &[("TRUSTED_PROXY_SECRET", secret)])
            .expect_err("a refusal")
            .to_string()
            .contains("horse")
    );
}

#[test]
fn the_routers_own_variables_do_not_reach_sessions() {
    let config = load(None, &[("ADMIN_SECRET", "0123456789abcdef"), ("PORT", "4000"), ("EDITOR", "ed")])
        .expect("a configuration");
    let names: Vec<_> = config.environment.0.iter().map(|(name, _)| name.to_str().expect("text")).collect();
    assert_eq!(names, ["HOME", "EDITOR"]);
    assert!(!format!("{:?}", config.environment).contains("/home/ada"), "their values may be API keys");
}

#[test]
fn variables_without_effect_are_reported() {
    let config = load(None, &[("OPENCODE_IMAGE", "x:1"), ("STORAGE_SIZE", "1Gi"), ("COLOUR", "red")])
        .expect("a configuration");
    assert_eq!(config.notices.len(), 2, "{:?}", config.notices);
    assert!(config.notices[0].starts_with("OPENCODE_IMAGE has no effect with BACKEND=local"));
    assert!(config.notices[1].starts_with("STORAGE_SIZE has no effect with BACKEND=local"));
}

#[test]
fn https_is_the_default_for_a_domain_outside_localhost() {
    let config =
        load(None, &[("ROUTER_DOMAIN", "oc.example.org"), ("ROUTE_SUFFIX", "-oc")]).expect("a configuration");
    assert_eq!(config.names.proto, "https");
    let config = load(None, &[("ROUTER_DOMAIN", "oc.localhost:8080")]).expect("a configuration");
    assert_eq!(config.names.proto, "http");
}

#[test]
fn the_site_is_at_the_domain_or_at_the_host_name_that_is_set() {
    let domain = [("ROUTER_DOMAIN", "example.org"), ("ROUTE_SUFFIX", "-oc")];
    for (site, expected) in [("", "https://example.org"), ("code.example.org", "https://code.example.org")] {
        let config = load(None, &[&domain[..], &[("SITE_HOST", site)]].concat()).expect("a configuration");
        let scheme = config.names.scheme(config.port).expect("host names that fit together");
        assert_eq!(config.names.site_origin(&scheme), expected);
        assert!(config.listing().contains(expected.trim_start_matches("https://")), "{}", config.listing());
    }
}

#[test]
fn every_variable_is_listed_once_and_every_default_is_valid() {
    let mut names: Vec<&str> = variables::VARIABLES.iter().map(|variable| variable.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), variables::VARIABLES.len());
    let listing = load(None, &[]).expect("a configuration").listing();
    for name in names {
        assert!(
            listing.lines().any(|line| line.starts_with(&format!("{name}="))),
            "{name} is not in\n{listing}"
        );
    }
}
