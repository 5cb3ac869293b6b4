//! Objects as the watches read them: without the fields that the store does not keep.
//!
//! A Pod has tens of kilobytes of JSON: its specification, with the scripts of its containers, and
//! `managedFields`. Skipping them is several times faster than reading them and dropping them after that, and
//! a router that starts reads all Pods.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::{
    api::core::v1::{
        Container, EnvFromSource, PersistentVolumeClaim, PersistentVolumeClaimStatus, Pod, PodSpec, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::Resource;
use serde::{Deserialize, Deserializer};

/// An object with the fields that [`cache`](super::cache) keeps.
#[derive(Debug, Clone)]
pub(super) struct Watched<K>(pub(super) K);

impl<K: Resource<DynamicType = ()>> Resource for Watched<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

impl From<Metadata> for ObjectMeta {
    fn from(fields: Metadata) -> Self {
        Self {
            name: fields.name,
            uid: fields.uid,
            resource_version: fields.resource_version,
            creation_timestamp: fields.creation_timestamp,
            deletion_timestamp: fields.deletion_timestamp,
            labels: fields.labels,
            annotations: fields.annotations,
            ..Self::default()
        }
    }
}

impl<'de> Deserialize<'de> for Watched<Pod> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            metadata: Metadata,
            spec: Option<Spec>,
            status: Option<PodStatus>,
        }

        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Spec {
            #[serde(default)]
            containers: Vec<ContainerFields>,
            node_name: Option<String>,
        }

        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ContainerFields {
            name: String,
            env_from: Option<Vec<EnvFromSource>>,
        }

        let Fields { metadata, spec, status } = Fields::deserialize(deserializer)?;
        let spec = spec.map(|spec| {
            let containers = spec.containers.into_iter().map(|fields| Container {
                name: fields.name,
                env_from: fields.env_from,
                ..Container::default()
            });
            PodSpec { containers: containers.collect(), node_name: spec.node_name, ..PodSpec::default() }
        });
        Ok(Self(Pod { metadata: metadata.into(), spec, status }))
    }
}

impl<'de> Deserialize<'de> for Watched<PersistentVolumeClaim> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            metadata: Metadata,
            status: Option<PersistentVolumeClaimStatus>,
        }

        let Fields { metadata, status } = Fields::deserialize(deserializer)?;
        Ok(Self(PersistentVolumeClaim { metadata: metadata.into(), spec: None, status }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kubernetes::cache::{trim, trim_pvc};

    fn metadata() -> Value {
        json!({
            "name": "one", "namespace": "sessions", "uid": "u1", "resourceVersion": "7", "generation": 1,
            "creationTimestamp": "2026-11-26T08:00:00Z", "deletionTimestamp": "2026-11-26T09:00:00Z",
            "labels": { "opencode.ai/session-hash": "000102030405", "app": "other" },
            "annotations": { "opencode.ai/run": "r1", "opencode.ai/wanted": "{}", "other": "value" },
            "finalizers": ["kubernetes.io/pvc-protection"],
            "managedFields": [{ "manager": "router", "operation": "Update", "fieldsType": "FieldsV1",
                "fieldsV1": { "f:spec": {} } }],
        })
    }

    #[test]
    fn a_watched_pod_has_every_field_that_is_kept() {
        let state = json!({ "terminated": { "exitCode": 1, "message": "it failed", "containerID": "c1" } });
        let container = json!({
            "name": "opencode", "image": "i", "imageID": "", "ready": false, "restartCount": 2,
            "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "lastState": state,
        });
        let condition = json!({
            "type": "Ready", "status": "False", "reason": "r", "lastTransitionTime": "2026-11-26T08:00:01Z",
        });
        let object = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata(),
            "spec": {
                "nodeName": "n1",
                "restartPolicy": "Always",
                "initContainers": [{ "name": "git-init" }],
                "containers": [{
                    "name": "opencode", "command": ["sh"], "env": [{ "name": "A", "value": "b" }],
                    "envFrom": [{ "secretRef": { "name": "opencode-server-000102030405" } }],
                }],
            },
            "status": {
                "phase": "Failed", "reason": "Evicted", "message": "no room", "podIP": "10.0.0.1",
                "hostIP": "10.1.0.1", "conditions": [condition],
                "initContainerStatuses": [container], "containerStatuses": [container],
            },
        });
        let mut whole: Pod = serde_json::from_value(object.clone()).unwrap();
        let Watched(mut watched) = serde_json::from_value::<Watched<Pod>>(object).unwrap();
        assert_eq!(watched.metadata.managed_fields, None, "skipped");
        trim(&mut whole);
        trim(&mut watched);
        assert_eq!(watched, whole);
    }

    #[test]
    fn a_watched_claim_has_every_field_that_is_kept() {
        let object = json!({
            "metadata": metadata(), "spec": { "accessModes": ["ReadWriteOnce"] },
            "status": { "phase": "Lost", "capacity": { "storage": "1Gi" } },
        });
        let mut whole: PersistentVolumeClaim = serde_json::from_value(object.clone()).unwrap();
        let Watched(mut watched) = serde_json::from_value::<Watched<PersistentVolumeClaim>>(object).unwrap();
        trim_pvc(&mut whole);
        trim_pvc(&mut watched);
        assert_eq!(watched, whole);
    }

    #[test]
    fn an_object_without_optional_fields_is_read() {
        let Watched(pod) = serde_json::from_str::<Watched<Pod>>(r#"{"metadata":{}}"#).unwrap();
        assert_eq!(pod, Pod::default());
        let Watched(pvc) =
            serde_json::from_str::<Watched<PersistentVolumeClaim>>(r#"{"metadata":{}}"#).unwrap();
        assert_eq!(pvc, PersistentVolumeClaim::default());
    }
}
