//! The configuration with `BACKEND=kubernetes`.

use std::ffi::OsString;

use pod_manager::kubernetes::KubernetesSettings;
use router_bin::config::{Backend, Config, IdentitySource, Problems};

/// The variables that a router on Kubernetes requires.
const REQUIRED: [(&str, &str); 4] = [
    ("BACKEND", "kubernetes"),
    ("OPENCODE_IMAGE", "registry.example/session:1"),
    ("ROUTER_DOMAIN", "opencode.example.org"),
    ("TRUSTED_PROXIES", "10.42.0.0/16"),
];

fn load(environment: &[(&str, &str)]) -> Result<Config, Problems> {
    Config::load(None, environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
}

fn with(more: &[(&str, &str)]) -> Result<Config, Problems> {
    load(&[&REQUIRED, more].concat())
}

#[track_caller]
fn settings(more: &[(&str, &str)]) -> KubernetesSettings {
    match with(more).expect("a configuration").backend {
        Backend::Kubernetes(settings) => *settings,
        Backend::Local { .. } => panic!("BACKEND=kubernetes"),
    }
}

#[track_caller]
fn refused(more: &[(&str, &str)], expected: &[&str]) {
    let problems = with(more).expect_err("a refusal");
    assert!(
        problems.0.iter().any(|sentence| expected.iter().all(|part| sentence.contains(part))),
        "{expected:?} not in one of {problems:#?}"
    );
}

#[test]
fn the_required_variables_are_enough() {
    let config = with(&[("POD_NAME", "router-0")]).expect("a configuration");
    assert_eq!(config.addresses(), ["0.0.0.0:3000".parse().expect("an address")]);
    assert_eq!(config.optional_listen, None);
    assert_eq!((config.health_port, config.names.proto), (8080, "https"));
    assert_eq!(config.idle_timeout.as_secs(), 1800);
    assert!(matches!(&config.identity, IdentitySource::Headers { proxies, .. } if proxies.len() == 1));
    assert!(!config.is_single_user() && !config.repos().local_paths && config.on_kubernetes());
    assert!(config.notices.is_empty(), "{:?}", config.notices);
    let Backend::Kubernetes(settings) = config.backend else { panic!("BACKEND=kubernetes") };
    assert!(settings.identity.starts_with("router-0-"), "{}", settings.identity);
    let expected = KubernetesSettings {
        identity: settings.identity.clone(),
        ..KubernetesSettings::new("registry.example/session:1")
    };
    assert_eq!(*settings, expected);
}

#[test]
fn limits_apply_by_default_and_zero_lifts_each() {
    let limits = |more: &[(&str, &str)]| {
        let config = with(more).expect("a configuration");
        (config.max_sessions, config.max_running, config.max_starts_per_minute)
    };
    let ten = Some(10);
    assert_eq!(limits(&[]), (Some(20), Some(5), ten));
    assert_eq!(limits(&[("MAX_SESSIONS_PER_USER", "0")]), (None, Some(5), ten));
    assert_eq!(limits(&[("MAX_RUNNING_SESSIONS_PER_USER", "0")]), (Some(20), None, ten));
    assert_eq!(limits(&[("MAX_STARTS_PER_MINUTE", "0")]), (Some(20), Some(5), None));
}

#[test]
fn every_variable_reaches_the_settings() {
    let settings = settings(&[
        ("OPENCODE_NAMESPACE", "agents"),
        ("API_KEY_SECRET_NAME", "keys"),
        ("CONFIG_MAP_NAME", "config.v2"),
        ("IMAGE_PULL_SECRET_NAME", "pull"),
        ("STORAGE_CLASS", "fast"),
        ("STORAGE_SIZE", "1.5Ti"),
        ("EPHEMERAL_STORAGE_SIZE", "0"),
        ("USER_NAMESPACES", "true"),
        ("SESSION_REQUESTS", "cpu = 250m, memory=1e9,nvidia.com/gpu=1"),
        ("SESSION_LIMITS", "none"),
    ]);
    assert_eq!((settings.namespace.as_str(), settings.api_key_secret.as_str()), ("agents", "keys"));
    assert_eq!(
        (settings.config_map.as_str(), settings.image_pull_secret.as_deref()),
        ("config.v2", Some("pull"))
    );
    assert_eq!((settings.storage_class.as_deref(), settings.storage_size.as_str()), (Some("fast"), "1.5Ti"));
    assert_eq!(settings.ephemeral_storage, None, "0 lifts the limit");
    assert!(settings.user_namespaces && settings.resources.limits.is_empty());
    let requests: Vec<_> =
        settings.resources.requests.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(requests, [("cpu", "250m"), ("memory", "1e9"), ("nvidia.com/gpu", "1")]);
}

#[test]
fn every_process_has_an_identity_of_its_own() {
    assert_ne!(settings(&[("HOSTNAME", "node")]).identity, settings(&[("HOSTNAME", "node")]).identity);
}

#[test]
fn a_wrong_value_is_refused_with_its_name_and_an_example() {
    for (name, value, expected) in [
        ("OPENCODE_NAMESPACE", "Agents", "not a namespace's name"),
        ("OPENCODE_NAMESPACE", "a.b", "not a namespace's name"),
        ("API_KEY_SECRET_NAME", "keys_1", "not an object's name"),
        ("CONFIG_MAP_NAME", "-x", "not an object's name"),
        ("STORAGE_CLASS", "a..b", "not an object's name"),
        ("OPENCODE_IMAGE", "a b", "contains a space"),
        ("CHROMIUM_IMAGE", "a b", "contains a space"),
        ("OPENCODE_ROUTER_EXTERNAL_DOMAIN", "a/b", "is invalid"),
        ("STORAGE_SIZE", "10GB", "not a Kubernetes quantity"),
        ("STORAGE_SIZE", "-1Gi", "not a Kubernetes quantity"),
        ("STORAGE_SIZE", "0", "not a Kubernetes quantity"),
        ("EPHEMERAL_STORAGE_SIZE", "much", "not a Kubernetes quantity"),
        ("SESSION_REQUESTS", "cpu", "not a resource with a quantity"),
        ("SESSION_LIMITS", "memory=much", "not a resource with a quantity"),
        ("USER_NAMESPACES", "yes", "`false` or `true`"),
    ] {
        refused(&[(name, value)], &[name, expected, "Example: "]);
    }
}

#[test]
fn all_missing_variables_are_reported_at_once() {
    let problems = load(&[("BACKEND", "kubernetes")]).expect_err("a refusal");
    for name in ["OPENCODE_IMAGE is not set", "ROUTER_DOMAIN is not set", "TRUSTED_PROXIES is not set"] {
        assert!(problems.0.iter().any(|sentence| sentence.starts_with(name)), "{name} not in {problems:#?}");
    }
    assert_eq!(problems.0.len(), 3, "{problems:#?}");
}

#[test]
fn a_trusted_proxy_or_secret_is_required() {
    let required = &REQUIRED[..3];
    let secret = ("TRUSTED_PROXY_SECRET", "0123456789abcdef");
    assert!(load(&[required, &[secret]].concat()).is_ok());
    let problems = load(required).expect_err("a refusal").to_string();
    assert!(problems.contains("TRUSTED_PROXIES") && problems.contains("TRUSTED_PROXY_SECRET"), "{problems}");
}

#[test]
fn the_single_user_is_refused_unless_the_router_listens_on_loopback() {
    let dev =
        |more: &[(&str, &str)]| load(&[&REQUIRED[..3], &[("DEV_EMAIL", "me@example.org")], more].concat());
    let problems = dev(&[]).expect_err("a refusal").to_string();
    assert!(problems.contains("DEV_EMAIL") && problems.contains("loopback"), "{problems}");
    let config = dev(&[("LISTEN_ADDRESS", "127.0.0.1")]).expect("a configuration");
    assert!(matches!(config.identity, IdentitySource::Dev(_)) && !config.is_single_user());
    assert!(config.listing().contains("IDENTITY=dev"), "{}", config.listing());
    refused(&[("IDENTITY", "headers"), ("DEV_EMAIL", "me@example.org")], &["DEV_EMAIL", "contradicts"]);
}

#[test]
fn variables_without_effect_are_reported() {
    let notices = with(&[("STATE_DIR", "/var/lib/x")]).expect("a configuration").notices;
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].starts_with("STATE_DIR has no effect with BACKEND=kubernetes"));
}

#[test]
fn a_pod_patch_is_checked_at_startup() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a written file");
        path.to_str().expect("text").to_owned()
    };
    let good = file("good.yaml", "spec: { runtimeClassName: gvisor }");
    assert!(settings(&[("POD_PATCH_FILE", &good)]).pod_patch.is_some());
    let bad = file(
        "bad.yaml",
        "spec: { nodeSelecter: { pool: a }, containers: [{ name: opencode, $patch: delete }] }",
    );
    let expected =
        ["POD_PATCH_FILE", "bad.yaml", "a Pod has no `spec.nodeSelecter`", "no longer has `opencode`"];
    refused(&[("POD_PATCH_FILE", &bad)], &expected);
    refused(&[("POD_PATCH_FILE", "/nowhere.yaml")], &["/nowhere.yaml", "can't be read: no such file"]);
}
