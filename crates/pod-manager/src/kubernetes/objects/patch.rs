//! The operator's patch of session Pods (`POD_PATCH_FILE`): a strategic merge patch, as in the API server.
//!
//! Maps are merged, and `null` removes a key. Lists are replaced, except those with a merge key (containers
//! and volumes by name, mounts by path): there an entry changes the one with its key, or is added.
//! `$patch: delete` removes an entry, `$patch: replace` replaces a map or a list as a whole, and
//! `$retainKeys` removes all other keys. New entries come first, in the patch's order, unless the patch names
//! existing entries before them.
//! <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md>

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value};

/// The lists of a Pod that are merged, and their merge keys. `*` stands for any entry of a list. Tolerations
/// are not among them: the API server replaces those.
const MERGED: [(&str, &str); 20] = [
    ("metadata/ownerReferences", "uid"),
    ("spec/containers", "name"),
    ("spec/containers/*/env", "name"),
    ("spec/containers/*/ports", "containerPort"),
    ("spec/containers/*/volumeDevices", "devicePath"),
    ("spec/containers/*/volumeMounts", "mountPath"),
    ("spec/ephemeralContainers", "name"),
    ("spec/hostAliases", "ip"),
    ("spec/imagePullSecrets", "name"),
    ("spec/initContainers", "name"),
    ("spec/initContainers/*/env", "name"),
    ("spec/initContainers/*/ports", "containerPort"),
    ("spec/initContainers/*/volumeDevices", "devicePath"),
    ("spec/initContainers/*/volumeMounts", "mountPath"),
    ("spec/resourceClaims", "name"),
    ("spec/schedulingGates", "name"),
    ("spec/topologySpreadConstraints", "topologyKey"),
    ("spec/volumes", "name"),
    ("status/conditions", "type"),
    ("status/podIPs", "ip"),
];

/// A validated patch.
#[derive(Debug, Clone, PartialEq)]
pub struct PodPatch(pub(super) Map<String, Value>);

impl PodPatch {
    /// Returns the Pod with the patch applied.
    #[must_use]
    pub fn apply(&self, pod: Pod) -> Pod {
        match self
            .merged(&pod)
            .and_then(|merged| serde_json::from_value(merged).map_err(|error| error.to_string()))
        {
            Ok(patched) => patched,
            Err(error) => {
                // It was tried at startup, on Pods of every shape.
                tracing::error!(error, "pod patch not applicable; creating the Pod without it");
                pod
            }
        }
    }

    /// Returns whether the patch changes the init container that earlier versions cloned in: it has to exist
    /// then.
    pub(super) fn names_git_init(&self) -> bool {
        let list = self.0.get("spec").and_then(|spec| spec.get("initContainers")).and_then(Value::as_array);
        list.into_iter().flatten().any(|entry| entry.get("name").is_some_and(|name| name == "git-init"))
    }

    pub(super) fn merged(&self, pod: &Pod) -> Result<Value, String> {
        let Ok(Value::Object(pod)) = serde_json::to_value(pod) else { return Err("no Pod".into()) };
        merge_maps(pod, &self.0, "").map(Value::Object)
    }
}

/// Merges a patch into a map; `path` is the map's place in the Pod.
fn merge_maps(
    mut into: Map<String, Value>,
    patch: &Map<String, Value>,
    path: &str,
) -> Result<Map<String, Value>, String> {
    match patch.get("$patch").map(Value::as_str) {
        None | Some(Some("merge")) => {}
        Some(Some("delete")) => return Ok(Map::new()),
        Some(Some("replace")) => return Ok(without_directives(patch)),
        Some(_) => {
            return Err(format!("{} holds a `$patch` that is neither merge, replace nor delete", at(path)));
        }
    }
    if let Some(retained) = patch.get("$retainKeys") {
        let Some(retained) = retained.as_array() else {
            return Err(format!("{} holds a `$retainKeys` that is no list", at(path)));
        };
        into.retain(|key, _| retained.iter().any(|retained| retained == key));
    }
    for (key, value) in patch {
        if key == "$patch" || key == "$retainKeys" {
            continue;
        }
        if key.starts_with('$') {
            return Err(format!("{} has `{key}`, which is not supported", at(path)));
        }
        let below = if path.is_empty() { key.clone() } else { format!("{path}/{key}") };
        let merged = match (into.remove(key), value) {
            (_, Value::Null) => continue,
            (Some(Value::Object(into)), Value::Object(patch)) => {
                Value::Object(merge_maps(into, patch, &below)?)
            }
            (Some(Value::Array(into)), Value::Array(patch)) => {
                Value::Array(merge_lists(into, patch, &below)?)
            }
            (None, Value::Object(patch)) => Value::Object(merge_maps(Map::new(), patch, &below)?),
            (None, Value::Array(patch)) => Value::Array(merge_lists(Vec::new(), patch, &below)?),
            (_, other) => other.clone(),
        };
        into.insert(key.clone(), merged);
    }
    Ok(into)
}

fn merge_lists(mut into: Vec<Value>, patch: &[Value], path: &str) -> Result<Vec<Value>, String> {
    let Some(key) = merge_key(path) else { return Ok(patch.to_vec()) };
    let is_directive = |entry: &&Value| {
        entry.get("$patch").and_then(Value::as_str) == Some("replace") && entry.get(key).is_none()
    };
    if patch.iter().any(|entry| is_directive(&entry)) {
        return Ok(patch.iter().filter(|entry| !is_directive(entry)).cloned().collect());
    }
    let mut changed = Vec::new();
    let mut below = path.to_owned();
    below.push_str("/*");
    for entry in patch {
        let Value::Object(entry) = entry else {
            return Err(format!("{} has an entry that is not a map", at(path)));
        };
        let Some(name) = entry.get(key).filter(|name| !name.is_null()) else {
            return Err(format!("{} has an entry without `{key}`, its merge key", at(path)));
        };
        if changed.iter().any(|other: &Value| other.get(key) == Some(name)) {
            return Err(format!("{} has {name} twice", at(path)));
        }
        if entry.get("$patch").and_then(Value::as_str) == Some("delete") {
            into.retain(|entry| entry.get(key) != Some(name));
            continue;
        }
        let there = into.iter().find(|entry| entry.get(key) == Some(name)).and_then(Value::as_object);
        changed.push(Value::Object(merge_maps(there.cloned().unwrap_or_default(), entry, &below)?));
    }
    Ok(in_order(&into, &changed, key))
}

/// Returns the changed entries in the patch's order and the others in theirs, each before those it preceded.
fn in_order(before: &[Value], changed: &[Value], key: &str) -> Vec<Value> {
    let place = |entry: &Value| before.iter().position(|other| other.get(key) == entry.get(key));
    let is_changed = |entry: &Value| changed.iter().any(|other| other.get(key) == entry.get(key));
    let mut others = before.iter().filter(|entry| !is_changed(entry)).peekable();
    let mut ordered = Vec::with_capacity(before.len() + changed.len());
    for entry in changed {
        let position = place(entry);
        while let Some(other) =
            others.next_if(|other| position.is_some_and(|end| place(other).is_some_and(|at| at < end)))
        {
            ordered.push(other.clone());
        }
        ordered.push(entry.clone());
    }
    ordered.extend(others.cloned());
    ordered
}

fn merge_key(path: &str) -> Option<&'static str> {
    MERGED.iter().find(|(list, _)| *list == path).map(|(_, key)| *key)
}

fn without_directives(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter()
        .filter(|(key, _)| !key.starts_with('$'))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Formats a path for people.
fn at(path: &str) -> String {
    if path.is_empty() {
        "the patch".into()
    } else {
        format!("`{}`", path.replace("/*", "[]").replace('/', "."))
    }
}

#[cfg(test)]
#[path = "patch_tests.rs"]
mod tests;
