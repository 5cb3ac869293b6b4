//! Cached objects: the newest version of each, trimmed to the fields that are read, and packed.

use std::{collections::BTreeMap, marker::PhantomData, mem::take};

use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStatus, Event, PersistentVolumeClaim,
        PersistentVolumeClaimStatus, Pod, PodCondition, PodSpec, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    objects::{
        names::{PREFIX, annotation},
        pod::GIT_CONFIG_KEY,
    },
    session::first_prompt_sent,
    status::fields::{container, event_time},
};

/// How much of a first prompt is enough to describe the session.
const DESCRIBING_BYTES: usize = 1024;

/// An object as JSON: a Pod as a struct takes several times the memory, most of it for fields that it lacks.
/// It is unpacked when the session changes, which is rare.
pub(super) struct Packed<K> {
    json: Box<[u8]>,
    kind: PhantomData<fn() -> K>,
}

impl<K: Serialize + DeserializeOwned> Packed<K> {
    pub(super) fn new(object: &K) -> Self {
        // An object that came as JSON has a JSON form.
        let json = serde_json::to_vec(object).unwrap_or_default();
        Self { json: json.into(), kind: PhantomData }
    }

    pub(super) fn unpack(&self) -> Option<K> {
        serde_json::from_slice(&self.json).ok()
    }
}

/// An object, and the newest version that is known of it or of its deletion.
///
/// Watches and the answers to our own writes arrive in any order. Versions are the API server's revisions,
/// which grow (KEP-5504), so the newer one is kept.
pub(super) struct Versioned<K> {
    object: Option<Packed<K>>,
    version: u64,
}

impl<K> Default for Versioned<K> {
    fn default() -> Self {
        Self { object: None, version: 0 }
    }
}

impl<K: Serialize + DeserializeOwned> Versioned<K> {
    /// Returns the object, if it exists.
    pub(super) fn object(&self) -> Option<K> {
        self.object.as_ref()?.unpack()
    }

    pub(super) fn exists(&self) -> bool {
        self.object.is_some()
    }

    /// Replaces the object unless a newer version is known; returns whether it did.
    ///
    /// `observed_version` is how far the watch has come. An object that is unknown and older than that was
    /// deleted, so a late answer does not bring it back.
    pub(super) fn apply(&mut self, object: &K, version: u64, observed_version: u64) -> bool {
        let is_deleted = self.object.is_none() && version <= observed_version;
        if is_deleted || version <= self.version {
            return false;
        }
        (self.object, self.version) = (Some(Packed::new(object)), version);
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

/// Returns whether an init container clones.
pub(super) fn is_cloning(pod: &Pod) -> bool {
    let state = container(pod, "git-init").and_then(|init| init.state.as_ref());
    pod.metadata.deletion_timestamp.is_none() && state.is_some_and(|state| state.running.is_some())
}

/// Returns whether opencode's container prepares the repository, before opencode.
pub(super) fn clones_in_opencode(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && container(pod, "git-init").is_none()
}

/// Removes the fields that are not read, which are most of a Pod. Of the specification, [`has_password`]
/// reads a part.
pub(super) fn trim(pod: &mut Pod) {
    trim_metadata(&mut pod.metadata);
    // Most of them are on the claim as well.
    if let Some(annotations) = &mut pod.metadata.annotations {
        for key in [GIT_CONFIG_KEY, "user-email", "repo-url", "branch", "source-branch", "created-at"] {
            annotations.remove(&annotation(key));
        }
    }
    if let Some(status) = pod.status.take() {
        let trim = |statuses: Vec<ContainerStatus>| statuses.into_iter().map(trim_container).collect();
        let conditions = |conditions: Vec<PodCondition>| conditions.into_iter().map(trim_condition).collect();
        pod.status = Some(PodStatus {
            phase: status.phase,
            reason: status.reason,
            message: status.message,
            pod_ip: status.pod_ip,
            conditions: status.conditions.map(conditions),
            init_container_statuses: status.init_container_statuses.map(trim),
            container_statuses: status.container_statuses.map(trim),
            ..PodStatus::default()
        });
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
    trim_metadata(&mut pvc.metadata);
    pvc.spec = None;
    if let Some(status) = pvc.status.take() {
        pvc.status = Some(PersistentVolumeClaimStatus { phase: status.phase, ..Default::default() });
    }
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

/// Removes the fields of an Event that are not read. Returns whether it is of any use: the others, about
/// each step of each start, say no more than the Pod.
pub(super) fn trim_event(event: &mut Event) -> bool {
    let last_timestamp = event_time(event).map(Time);
    *event = Event {
        type_: take(&mut event.type_),
        reason: take(&mut event.reason),
        message: take(&mut event.message),
        last_timestamp,
        ..Event::default()
    };
    event.type_.as_deref() == Some("Warning") || event.reason.as_deref() == Some("Pulling")
}

fn trim_metadata(metadata: &mut ObjectMeta) {
    let all = take(metadata);
    let ours = |map: BTreeMap<String, String>| map.into_iter().filter(|(key, _)| is_ours(key)).collect();
    *metadata = ObjectMeta {
        name: all.name,
        uid: all.uid,
        resource_version: all.resource_version,
        creation_timestamp: all.creation_timestamp,
        deletion_timestamp: all.deletion_timestamp,
        labels: all.labels.map(ours),
        annotations: all.annotations.map(ours),
        ..ObjectMeta::default()
    };
}

fn is_ours(key: &str) -> bool {
    key.starts_with(PREFIX)
}

fn trim_condition(condition: PodCondition) -> PodCondition {
    PodCondition { last_probe_time: None, observed_generation: None, ..condition }
}

fn trim_container(container: ContainerStatus) -> ContainerStatus {
    ContainerStatus {
        name: container.name,
        // Read if it can't be pulled.
        image: if container.state.as_ref().is_some_and(|state| state.waiting.is_some()) {
            container.image
        } else {
            String::new()
        },
        restart_count: container.restart_count,
        state: container.state.map(trim_state),
        last_state: container.last_state.map(trim_state),
        ..ContainerStatus::default()
    }
}

fn trim_state(mut state: ContainerState) -> ContainerState {
    if let Some(terminated) = &mut state.terminated {
        terminated.container_id = None;
    }
    state
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
    fn a_trimmed_pod_still_says_that_its_clone_failed() {
        let ended =
            serde_json::json!({ "exitCode": 128, "message": "opencode-router: preparing the repository\n" });
        let status = serde_json::json!({ "name": "opencode", "image": "i", "imageID": "", "ready": false, "restartCount": 1,
            "state": { "waiting": {} }, "lastState": { "terminated": ended } });
        let mut pod: Pod =
            serde_json::from_value(serde_json::json!({ "status": { "containerStatuses": [status] } }))
                .unwrap();
        trim(&mut pod);
        let status = container(&pod, "opencode").unwrap();
        let ended = status.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
        assert_eq!(ended.message.as_deref(), Some("opencode-router: preparing the repository\n"));
    }

    #[test]
    fn a_late_event_brings_no_older_version_back() {
        let mut object = Versioned::default();
        assert!(object.apply(&"created".to_owned(), 5, 0));
        assert!(!object.apply(&"created".to_owned(), 5, 0), "the same version");
        assert!(!object.apply(&"older".to_owned(), 4, 0));
        assert!(object.apply(&"changed".to_owned(), 7, 0));
        // The answer to a delete that ended at once may come before the deletion's event, or after it.
        assert!(object.apply(&"deleted".to_owned(), 9, 0));
        assert!(object.delete(9));
        assert!(!object.apply(&"deleted".to_owned(), 9, 0));
        assert!(!object.apply(&"changed".to_owned(), 7, 0));
        assert!(!object.delete(9));
        assert!(object.apply(&"created again".to_owned(), 12, 0));
        assert_eq!(object.object().as_deref(), Some("created again"));
        // The watch has come as far as version 20.
        assert!(object.delete(15));
        assert!(!object.apply(&"a late answer".to_owned(), 18, 20));
        assert!(object.apply(&"created since".to_owned(), 21, 20));
        assert!(object.apply(&"changed".to_owned(), 22, 30), "a known object stays");
    }
}
