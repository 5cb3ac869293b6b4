//! The dependencies that each crate may have (docs/ARCHITECTURE.md), read from the manifests.

use std::{collections::BTreeSet, fs, path::PathBuf};

use config::{Config, File, FileFormat, Map, Value};

const OURS: [&str; 8] =
    ["session-key", "proxy-core", "pod-manager", "github", "api", "router-bin", "cli", "cloudflare-operator"];

struct Manifest {
    name: String,
    required: BTreeSet<String>,
    optional: BTreeSet<String>,
    features: Map<String, Value>,
}

fn manifests() -> Vec<Manifest> {
    let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut manifests = Vec::new();
    for entry in fs::read_dir(crates).expect("the crates") {
        let path = entry.expect("an entry").path().join("Cargo.toml");
        if let Ok(text) = fs::read_to_string(&path) {
            manifests.push(read(&text));
        }
    }
    manifests
}

fn read(text: &str) -> Manifest {
    let table =
        Config::builder().add_source(File::from_str(text, FileFormat::Toml)).build().expect("a manifest");
    let mut manifest = Manifest {
        name: table.get_string("package.name").expect("a name"),
        required: BTreeSet::new(),
        optional: BTreeSet::new(),
        features: table.get_table("features").unwrap_or_default(),
    };
    for (name, value) in table.get_table("dependencies").unwrap_or_default() {
        let optional = value.into_table().ok().and_then(|mut table| table.remove("optional")).is_some();
        if optional { &mut manifest.optional } else { &mut manifest.required }.insert(name);
    }
    manifest
}

impl Manifest {
    fn all(&self) -> BTreeSet<&str> {
        self.required.iter().chain(&self.optional).map(String::as_str).collect()
    }

    fn of_feature(&self, name: &str) -> BTreeSet<String> {
        let parts = self
            .features
            .get(name)
            .cloned()
            .map(|value| value.into_array().expect("a list"))
            .unwrap_or_default();
        parts
            .into_iter()
            .filter_map(|value| value.into_string().expect("text").strip_prefix("dep:").map(str::to_owned))
            .collect()
    }
}

#[test]
fn the_import_table_holds() {
    let manifests = manifests();
    let of = |name: &str| {
        manifests.iter().find(|manifest| manifest.name == name).unwrap_or_else(|| panic!("no crate {name}"))
    };
    let servers = ["axum", "hyper", "hyper-util", "tower-http", "utoipa-axum"];
    for (name, never) in [
        ("session-key", [&OURS[..], &["tokio", "http", "hyper", "tower"]].concat()),
        (
            "proxy-core",
            vec![
                "kube",
                "k8s-openapi",
                "serde_json",
                "serde",
                "axum",
                "pod-manager",
                "api",
                "cli",
                "reqwest",
            ],
        ),
        (
            "pod-manager",
            [&servers[..], &["proxy-core", "github", "api", "cli", "cloudflare-operator"]].concat(),
        ),
        ("github", [&OURS[..], &["axum", "kube", "k8s-openapi"]].concat()),
        ("api", vec!["kube", "k8s-openapi", "proxy-core", "cli", "cloudflare-operator"]),
        ("cli", vec!["axum", "proxy-core", "cloudflare-operator"]),
        ("cloudflare-operator", vec!["proxy-core", "api", "cli"]),
    ] {
        let all = of(name).all();
        let forbidden: Vec<&str> =
            never.into_iter().filter(|dependency| *dependency != name && all.contains(dependency)).collect();
        assert!(forbidden.is_empty(), "{name} must not depend on {forbidden:?}");
    }
}

#[test]
fn nothing_depends_on_the_composition_root() {
    for manifest in manifests() {
        assert!(!manifest.all().contains("router-bin"), "{} depends on router-bin", manifest.name);
    }
}

#[test]
fn the_api_is_wire_types_alone_without_its_features() {
    let manifests = manifests();
    let api = manifests.iter().find(|manifest| manifest.name == "api").expect("api");
    for (dependency, feature) in
        [("axum", "server"), ("github", "server"), ("pod-manager", "view"), ("reqwest", "client")]
    {
        assert!(!api.required.contains(dependency), "{dependency} belongs to the feature {feature}");
        assert!(
            api.of_feature(feature).contains(dependency),
            "{dependency} belongs to the feature {feature}"
        );
    }
    assert!(!api.of_feature("client").contains("pod-manager"), "a client needs the wire types only");
}

#[test]
fn kubernetes_and_local_processes_are_features_of_the_pod_manager() {
    let manifests = manifests();
    let manager = manifests.iter().find(|manifest| manifest.name == "pod-manager").expect("pod-manager");
    for dependency in ["kube", "k8s-openapi", "nix", "sysinfo"] {
        assert!(!manager.required.contains(dependency), "{dependency} must be optional");
    }
}

#[test]
fn no_crate_is_named_for_odds_and_ends() {
    for manifest in manifests() {
        assert!(
            !["common", "utils", "util", "types", "helpers", "test-support", "shared"]
                .contains(&manifest.name.as_str()),
            "{} does not say what the crate is for",
            manifest.name
        );
    }
}

#[test]
fn every_version_is_named_once_in_the_workspace() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let workspace = fs::read_to_string(root).expect("the workspace");
    let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    for entry in fs::read_dir(crates).expect("the crates") {
        let Ok(text) = fs::read_to_string(entry.expect("an entry").path().join("Cargo.toml")) else {
            continue;
        };
        let manifest = Config::builder()
            .add_source(File::from_str(&text, FileFormat::Toml))
            .build()
            .expect("a manifest");
        for (name, value) in manifest.get_table("dependencies").unwrap_or_default() {
            if let Ok(version) = value.into_string() {
                assert!(
                    !workspace.contains(&format!("\n{name} = ")),
                    "{name} {version} belongs into the workspace"
                );
            }
        }
    }
}
