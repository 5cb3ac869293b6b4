//! What an operator lays over a session's Pod (`POD_PATCH_FILE`): a strategic merge, as the API server does it.
//!
//! Maps are merged, `null` removes. Lists are replaced, but for those that have a key (containers and volumes by name, mounts
//! by path): there an entry changes the one of its key or is a new one. `$patch: delete` removes an entry, `$patch: replace`
//! replaces a map or a list as a whole, `$retainKeys` keeps no other keys than those it names. New entries come first, in
//! the patch's order, unless the patch names entries that are there before them.
//! <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md>

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value};

/// The lists of a Pod that are merged, each by the key that tells its entries apart. `*` stands for any entry of a list.
/// Tolerations are not among them: the API server replaces those.
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

/// A patch that was found to fit.
#[derive(Debug, Clone, PartialEq)]
pub struct PodPatch(pub(super) Map<String, Value>);

impl PodPatch {
    /// The Pod with the patch laid over it.
    #[must_use]
    pub fn apply(&self, pod: Pod) -> Pod {
        match self
            .merged(&pod)
            .and_then(|merged| serde_json::from_value(merged).map_err(|error| error.to_string()))
        {
            Ok(patched) => patched,
            Err(error) => {
                // It was tried at the start, on Pods of every shape.
                tracing::error!(error, "the patch does not fit this Pod; it is made without");
                pod
            }
        }
    }

    pub(super) fn merged(&self, pod: &Pod) -> Result<Value, String> {
        let Ok(Value::Object(pod)) = serde_json::to_value(pod) else { return Err("no Pod".into()) };
        merge_maps(pod, &self.0, "").map(Value::Object)
    }
}

/// Lays one map over another; `path` is where they stand.
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
            return Err(format!("{} holds `{key}`, which is not taken here", at(path)));
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
            return Err(format!("{} holds an entry that is no map", at(path)));
        };
        let Some(name) = entry.get(key).filter(|name| !name.is_null()) else {
            return Err(format!(
                "{} holds an entry without `{key}`, which tells its entries apart",
                at(path)
            ));
        };
        if changed.iter().any(|other: &Value| other.get(key) == Some(name)) {
            return Err(format!("{} holds {name} twice", at(path)));
        }
        if entry.get("$patch").and_then(Value::as_str) == Some("delete") {
            into.retain(|there| there.get(key) != Some(name));
            continue;
        }
        let there = into.iter().find(|there| there.get(key) == Some(name)).and_then(Value::as_object);
        changed.push(Value::Object(merge_maps(there.cloned().unwrap_or_default(), entry, &below)?));
    }
    Ok(in_order(&into, &changed, key))
}

/// Those that were changed in the patch's order, the others in theirs, and the two as they stood to one another.
fn in_order(before: &[Value], changed: &[Value], key: &str) -> Vec<Value> {
    let place = |entry: &Value| before.iter().position(|there| there.get(key) == entry.get(key));
    let is_changed = |entry: &Value| changed.iter().any(|other| other.get(key) == entry.get(key));
    let mut others = before.iter().filter(|entry| !is_changed(entry)).peekable();
    let mut ordered = Vec::with_capacity(before.len() + changed.len());
    for entry in changed {
        let mine = place(entry);
        while let Some(other) =
            others.next_if(|other| mine.is_some_and(|mine| place(other).is_some_and(|it| it < mine)))
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

/// Where something stands, for a person.
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
