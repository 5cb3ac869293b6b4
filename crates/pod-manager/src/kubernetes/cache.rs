//! Cached objects: the newest version of each, with Pods and claims trimmed to the fields that are read.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{Container, PersistentVolumeClaim, Pod, PodSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    objects::{names::annotation, pod::GIT_CONFIG_KEY},
    session::first_prompt_sent,
    status::fields::container,
};

/// How much of a first prompt is enough to describe the session.
const DESCRIBING_BYTES: usize = 1024;

/// An object, and the newest version that is known of it or of its deletion.
///
/// Watches and the answers to our own writes arrive in any order. Versions are the API server's revisions,
/// which grow (KEP-5504), so the newer one is kept.
pub(super) struct Versioned<K> {
    pub(super) object: Option<Arc<K>>,
    pub(super) version: u64,
}

impl<K> Default for Versioned<K> {
    fn default() -> Self {
        Self { object: None, version: 0 }
    }
}

impl<K> Versioned<K> {
    /// Replaces the object unless a newer version is known; returns whether it did.
    ///
    /// `observed_version` is how far the watch has come. An object that is unknown and older than that was
    /// deleted, so a late answer does not bring it back.
    pub(super) fn apply(&mut self, object: K, version: u64, observed_version: u64) -> bool {
        let is_deleted = self.object.is_none() && version <= observed_version;
        if is_deleted || version <= self.version {
            return false;
        }
        (self.object, self.version) = (Some(Arc::new(object)), version);
        true
    }

    /// Removes the object unless a newer version is known; returns whether it did. The answer to a delete may
    /// have the version of the deletion itself: of one version, the deletion counts.
    pub(super) fn delete(&mut self, version: u64) -> bool {
        let is_known = version == self.version && self.object.is_none();
        if version < self.version || is_known {
            return false;
        }
        (self.object, self.version) = (None, version);
        true
    }
}

/// Returns whether the init container runs.
pub(super) fn is_cloning(pod: &Pod) -> bool {
    let state = container(pod, "git-init").and_then(|init| init.state.as_ref());
    pod.metadata.deletion_timestamp.is_none() && state.is_some_and(|state| state.running.is_some())
}

/// Removes the fields that are not read, which are most of a Pod. Of the specification, [`has_password`]
/// reads a part.
pub(super) fn trim(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    if let Some(annotations) = &mut pod.metadata.annotations {
        annotations.remove(&annotation(GIT_CONFIG_KEY));
    }
    if let Some(spec) = pod.spec.take() {
        let containers = spec.containers.into_iter().map(|container| Container {
            name: container.name,
            env_from: container.env_from,
            ..Container::default()
        });
        let containers = containers.collect();
        pod.spec = Some(PodSpec { containers, node_name: spec.node_name, ..PodSpec::default() });
    }
}

/// Removes the fields of a claim that are not read. A first prompt that was sent is cut to its beginning,
/// which describes the session: it may be long, and only the claim itself keeps it as a whole.
pub(super) fn trim_pvc(pvc: &mut PersistentVolumeClaim) {
    pvc.metadata.managed_fields = None;
    pvc.spec = None;
    if !first_prompt_sent(pvc) {
        return;
    }
    let annotations = pvc.metadata.annotations.as_mut();
    if let Some(text) = annotations.and_then(|all| all.get_mut(&annotation("initial-message"))) {
        let start = text.trim_start();
        // A new string: truncating would keep the memory.
        *text = start[..start.floor_char_boundary(DESCRIBING_BYTES)].to_owned();
    }
}

/// Returns whether the Pod's environment has the server Secret. Pods of the TypeScript router do not.
pub(super) fn has_password(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let sources = containers.flat_map(|container| container.env_from.iter().flatten());
    let names = sources.filter_map(|source| source.secret_ref.as_ref()).map(|secret| secret.name.as_str());
    names.into_iter().any(|name| name.starts_with("opencode-server-"))
}

/// Returns the object's version as a number.
pub(super) fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_prompt_is_kept_whole_only_until_it_is_sent() {
        let message = format!("\n Fix the build.\n{}", "é".repeat(30_000));
        let cached = |sent: bool| {
            let mut annotations = serde_json::json!({
                "opencode.ai/initial-message": message, "opencode.ai/wanted": "{}",
            });
            if sent {
                annotations["opencode.ai/greeted"] = "true".into();
            }
            let mut pvc: PersistentVolumeClaim =
                serde_json::from_value(serde_json::json!({ "metadata": { "annotations": annotations } }))
                    .unwrap();
            trim_pvc(&mut pvc);
            pvc.metadata.annotations.unwrap().remove("opencode.ai/initial-message").unwrap()
        };
        assert_eq!(cached(false), message);
        let start = cached(true);
        assert!(start.starts_with("Fix the build.\né") && start.len() <= DESCRIBING_BYTES, "{}", start.len());
    }

    #[test]
    fn a_late_event_brings_no_older_version_back() {
        let mut object = Versioned::default();
        assert!(object.apply("created", 5, 0));
        assert!(!object.apply("created", 5, 0), "the same version");
        assert!(!object.apply("older", 4, 0));
        assert!(object.apply("changed", 7, 0));
        // The answer to a delete that ended at once may come before the deletion's event, or after it.
        assert!(object.apply("deleted", 9, 0));
        assert!(object.delete(9));
        assert!(!object.apply("deleted", 9, 0));
        assert!(!object.apply("changed", 7, 0));
        assert!(!object.delete(9));
        assert!(object.apply("created again", 12, 0));
        assert_eq!(object.object.as_deref(), Some(&"created again"));
        // The watch has come as far as version 20.
        assert!(object.delete(15));
        assert!(!object.apply("a late answer", 18, 20));
        assert!(object.apply("created since", 21, 20));
        assert!(object.apply("changed", 22, 30), "a known object stays");
    }
}
