//! Validates the operator's patch: its result has to be a Pod, with the fields that the router relies on.

use std::time::UNIX_EPOCH;

use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::Value;
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};

use thiserror::Error;

use super::{
    super::settings::KubernetesSettings,
    names::PORT,
    patch::PodPatch,
    pod::{CloningContainer, HOME, unpatched_pod},
};
use crate::model::{Session, Source};

/// Why a patch is refused: clauses for its author, without a full stop.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", .0.join("; "))]
pub struct PatchError(pub Vec<String>);

impl PodPatch {
    /// Parses YAML or JSON, and tries the patch on Pods with these settings.
    ///
    /// # Errors
    /// [`PatchError`], with all problems: the patch can't be parsed, its result is not a Pod, or it changes
    /// fields that the router relies on.
    pub fn parse(text: &str, settings: &KubernetesSettings) -> Result<Self, PatchError> {
        let patch: Value = serde_yaml_ng::from_str(text)
            .map_err(|error| PatchError(vec![format!("it is neither YAML nor JSON: {error}")]))?;
        let Value::Object(patch) = patch else {
            return Err(PatchError(vec!["it is not a part of a Pod, like `spec: {…}`".into()]));
        };
        let patch = Self(patch);
        match problems(&patch, settings) {
            problems if problems.is_empty() => Ok(patch),
            problems => Err(PatchError(problems)),
        }
    }
}

/// Returns all problems of the patch.
fn problems(patch: &PodPatch, settings: &KubernetesSettings) -> Vec<String> {
    let mut problems = head(patch);
    for session in samples() {
        let plain = unpatched_pod(&session, settings, UNIX_EPOCH, CloningContainer::of(Some(patch)));
        let found = match patch.merged(&plain) {
            Err(problem) => vec![problem],
            Ok(merged) => match serde_json::from_value::<Pod>(merged.clone()) {
                Err(error) => vec![format!("the result is not a Pod: {error}")],
                Ok(pod) => unknown(&merged, &pod).into_iter().chain(required_fields(&plain, &pod)).collect(),
            },
        };
        for problem in found {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
    problems
}

/// Returns the problems of the patch itself.
fn head(patch: &PodPatch) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, expected) in [("apiVersion", "v1"), ("kind", "Pod")] {
        if patch.0.get(key).is_some_and(|value| value != expected) {
            problems.push(format!("`{key}` is not {expected}: the patch is for Pods"));
        }
    }
    if patch.0.contains_key("status") {
        problems.push("`status` is written by the cluster only".into());
    }
    let metadata = patch.0.get("metadata").and_then(Value::as_object);
    for key in metadata.into_iter().flat_map(|map| map.keys()) {
        if key != "labels" && key != "annotations" {
            problems.push(format!(
                "`metadata.{key}` belongs to the router: only labels and annotations can be added"
            ));
        }
    }
    problems
}

/// Returns the changes to fields that the router relies on.
fn required_fields(plain: &Pod, patched: &Pod) -> Vec<String> {
    let mut problems = Vec::new();
    let labels = |pod: &Pod| pod.metadata.labels.clone().unwrap_or_default();
    for (key, value) in labels(plain) {
        if labels(patched).get(&key) != Some(&value) {
            problems.push(format!("the router finds its Pods by the label `{key}`"));
        }
    }
    let ours = |pod: &Pod| {
        let annotations = pod.metadata.annotations.clone().unwrap_or_default();
        annotations.into_iter().filter(|(key, _)| key.starts_with("opencode.ai/")).collect::<Vec<_>>()
    };
    if ours(plain) != ours(patched) {
        problems.push("annotations under `opencode.ai/` belong to the router".into());
    }
    let volume = |pod: &Pod| {
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.clone()).unwrap_or_default();
        volumes.into_iter().find(|volume| volume.name == "user-data")
    };
    if volume(plain) != volume(patched) {
        problems.push("the volume `user-data` is the session's storage".into());
    }
    for (list, name, path) in [("initContainers", "git-init", "/workspace"), ("containers", "opencode", HOME)]
    {
        let (Some(plain), patched) = (container(plain, name), container(patched, name)) else { continue };
        match patched {
            None => problems.push(format!("`spec.{list}` no longer has `{name}`")),
            Some(patched) => {
                problems.extend(
                    of_container(plain, patched, path)
                        .map(|what| format!("{what} of `{name}` belongs to the router")),
                );
            }
        }
    }
    problems
}

fn of_container(plain: &Container, patched: &Container, path: &str) -> impl Iterator<Item = &'static str> {
    let mount = |container: &Container| {
        let mounts = container.volume_mounts.clone().unwrap_or_default();
        mounts.into_iter().find(|mount| mount.mount_path == path)
    };
    let port = |container: &Container| {
        let ports = container.ports.clone().unwrap_or_default();
        ports.into_iter().find(|port| port.container_port == i32::from(PORT))
    };
    let variables = |container: &Container| {
        let variables = container.env.clone().unwrap_or_default();
        let ours = ["REPO_URL", "BRANCH", "SOURCE_BRANCH", "GITHUB_TOKEN"];
        let is_ours = |name: &str| {
            let short = name.strip_prefix("OPENCODE_ROUTER_").unwrap_or(name);
            name == "OPENCODE_SERVER_PASSWORD" || (ours.contains(&short) && name != "GITHUB_TOKEN")
        };
        variables.into_iter().filter(|variable| is_ours(&variable.name)).collect::<Vec<_>>()
    };
    [
        (mount(plain) == mount(patched), "the mount of the session's storage"),
        (port(plain) == port(patched), "the port 4096"),
        (
            plain.env_from == patched.env_from,
            "`envFrom` (add variables by `env`, or keys by API_KEY_SECRET_NAME)",
        ),
        (
            variables(plain) == variables(patched),
            "one of the variables that say what is cloned, or opencode's password,",
        ),
    ]
    .into_iter()
    .filter(|(same, _)| !same)
    .map(|(_, what)| what)
}

fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    spec.init_containers.iter().flatten().chain(&spec.containers).find(|container| container.name == name)
}

/// Returns the names that a Pod does not have. Kubernetes' own types ignore them, so a misspelt one would
/// have no effect.
fn unknown(given: &Value, pod: &Pod) -> Vec<String> {
    let mut found = Vec::new();
    if let Ok(known) = serde_json::to_value(pod) {
        compare(given, &known, "", &mut found);
    }
    found
}

fn compare(given: &Value, known: &Value, path: &str, found: &mut Vec<String>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (key, value) in given {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match known.get(key) {
                    Some(known) => compare(value, known, &below, found),
                    // Empty values are omitted when a Pod is serialized.
                    None if is_empty(value) => {}
                    None => found.push(format!("a Pod has no `{below}`")),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (given, known) in given.iter().zip(known) {
                compare(given, known, &format!("{path}[]"), found);
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Returns sessions whose Pods have every possible shape.
fn samples() -> Vec<Session> {
    let session = |source, message: Option<&str>| {
        Some(Session {
            hash: SessionHash::from_bytes([0; 6]),
            owner: Identity::parse("somebody@example.com").ok()?,
            source,
            initial_message: message.map(str::to_owned),
            created_at: UNIX_EPOCH,
        })
    };
    let cloned = || {
        Some(Source::Repository {
            url: RepoUrl::parse("https://git.example.com/a/b", RepoPolicy::default()).ok()?,
            branch: GitRef::parse("main").ok()?,
            from: Some(GitRef::parse("dev").ok()?),
        })
    };
    let sessions = [session(Source::Empty, None), cloned().and_then(|source| session(source, Some("Hello")))];
    sessions.into_iter().flatten().collect()
}
