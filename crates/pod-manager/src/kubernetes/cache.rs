//! What is kept of an object: its newest version, and of a Pod only what somebody here asks.

use std::sync::Arc;

use k8s_openapi::{
    api::core::v1::{Container, Pod, PodSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::status::fields::container;

/// An object, and the newest version that was seen of it or of its end.
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
    /// Takes it in unless something newer is known, or it is gone: of what the watch has passed, everything is known. Versions are the API server's revisions, which grow (KEP-5504). What a
    /// delete answers may have the version of the end itself, and come after it was seen: of one version, the end counts.
    pub(super) fn set(&mut self, object: Option<K>, version: u64, passed: u64) -> bool {
        if object.is_some() && self.object.is_none() && version <= passed {
            return false;
        }
        let is_end = object.is_none() && self.object.is_some();
        if version < self.version || (version == self.version && !is_end) {
            return false;
        }
        (self.object, self.version) = (object.map(Arc::new), version);
        true
    }
}

pub(super) fn is_cloning(pod: &Pod) -> bool {
    let state = container(pod, "git-init").and_then(|init| init.state.as_ref());
    pod.metadata.deletion_timestamp.is_none() && state.is_some_and(|state| state.running.is_some())
}

/// Takes away what nobody here asks, which is most of a Pod: of its specification, what [`has_password`] reads is left.
pub(super) fn trim(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    if let Some(spec) = pod.spec.take() {
        let containers = spec.containers.into_iter().map(|container| Container {
            name: container.name,
            env_from: container.env_from,
            ..Container::default()
        });
        pod.spec = Some(PodSpec { containers: containers.collect(), ..PodSpec::default() });
    }
}

/// Whether the Pod takes the server Secret into its environment: the TypeScript router's do not.
pub(super) fn has_password(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let sources = containers.flat_map(|container| container.env_from.iter().flatten());
    let names = sources.filter_map(|source| source.secret_ref.as_ref()).map(|secret| secret.name.as_str());
    names.into_iter().any(|name| name.starts_with("opencode-server-"))
}

pub(super) fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_that_come_late_bring_nothing_back() {
        let mut object = Versioned::default();
        assert!(object.set(Some("made"), 5, 0));
        assert!(!object.set(Some("made"), 5, 0), "no news");
        assert!(!object.set(Some("older"), 4, 0));
        assert!(object.set(Some("changed"), 7, 0));
        // A delete whose object was gone at once: what it answers may come first, or last.
        assert!(object.set(Some("deleted"), 9, 0));
        assert!(object.set(None, 9, 0));
        assert!(!object.set(Some("deleted"), 9, 0));
        assert!(!object.set(Some("changed"), 7, 0));
        assert!(!object.set(None, 9, 0));
        assert!(object.set(Some("made anew"), 12, 0));
        assert_eq!(object.object.as_deref(), Some(&"made anew"));
        // The watch has told all that was so until 20.
        assert!(object.set(None, 15, 0));
        assert!(!object.set(Some("an answer that comes late"), 18, 20));
        assert!(object.set(Some("made since"), 21, 20));
        assert!(object.set(Some("changed"), 22, 30), "what is there goes on being there");
    }
}
