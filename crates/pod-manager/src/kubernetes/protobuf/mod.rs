//! Events of a watch in the API server's protobuf, with the fields of objects that
//! [`watched`](super::watched) keeps. See docs/adr/0033.
//!
//! The numbers of the fields are those of Kubernetes' `generated.proto`, where they never change meaning. A
//! text is read as bytes: what a container wrote need not be UTF-8, and one such text must not make its Pod
//! unreadable.

mod wire;

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, EnvFromSource, PersistentVolumeClaim, PersistentVolumeClaimStatus, Pod,
        PodCondition, PodSpec, PodStatus, SecretEnvSource,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::core::{
    Status, TypeMeta, WatchEvent,
    watch::{Bookmark, BookmarkMeta},
};
use prost::{DecodeError, Message};
use thiserror::Error;

use super::watched::Watched;

/// What each object begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Why an event or an object can't be read.
#[derive(Debug, Error)]
pub(super) enum ProtobufError {
    #[error("it does not begin as objects do")]
    NoObject,
    #[error("the event's type is unknown")]
    UnknownEvent,
    #[error(transparent)]
    Invalid(#[from] DecodeError),
}

/// An object that a watch may deliver.
pub(super) trait FromProtobuf: Sized {
    fn from_protobuf(object: Bytes) -> Result<Self, ProtobufError>;
}

/// Reads an event of a watch.
pub(super) fn watch_event<K: FromProtobuf>(event: Bytes) -> Result<WatchEvent<K>, ProtobufError> {
    let event = wire::WatchEvent::decode(event)?;
    let object = event.object.unwrap_or_default().raw;
    Ok(match event.kind.as_slice() {
        b"ADDED" => WatchEvent::Added(K::from_protobuf(object)?),
        b"MODIFIED" => WatchEvent::Modified(K::from_protobuf(object)?),
        b"DELETED" => WatchEvent::Deleted(K::from_protobuf(object)?),
        b"BOOKMARK" => {
            let metadata = message::<wire::Claim>(object)?.metadata.unwrap_or_default();
            let resource_version = text(metadata.resource_version);
            let annotations = map(metadata.annotations).unwrap_or_default();
            let (types, metadata) = (TypeMeta::default(), BookmarkMeta { resource_version, annotations });
            WatchEvent::Bookmark(Bookmark { types, metadata })
        }
        b"ERROR" => WatchEvent::Error(status(object)?.boxed()),
        _ => return Err(ProtobufError::UnknownEvent),
    })
}

/// Reads a status, as in an answer that is an error.
pub(super) fn status(object: Bytes) -> Result<Status, ProtobufError> {
    let status = message::<wire::Status>(object)?;
    let code = u16::try_from(status.code).unwrap_or_default();
    Ok(Status::failure(&text(status.message), &text(status.reason)).with_code(code))
}

/// Reads the message in an object's envelope.
fn message<M: Message + Default>(mut object: Bytes) -> Result<M, ProtobufError> {
    if !object.starts_with(MAGIC) {
        return Err(ProtobufError::NoObject);
    }
    let envelope = wire::Unknown::decode(object.split_off(MAGIC.len()))?;
    Ok(M::decode(envelope.raw)?)
}

impl FromProtobuf for Watched<Pod> {
    fn from_protobuf(object: Bytes) -> Result<Self, ProtobufError> {
        let pod = message::<wire::Pod>(object)?;
        let spec = pod.spec.map(|spec| PodSpec {
            containers: spec.containers.into_iter().map(Container::from).collect(),
            node_name: optional(spec.node_name),
            ..PodSpec::default()
        });
        let metadata = pod.metadata.unwrap_or_default().into();
        Ok(Self(Pod { metadata, spec, status: pod.status.map(PodStatus::from) }))
    }
}

impl FromProtobuf for Watched<PersistentVolumeClaim> {
    fn from_protobuf(object: Bytes) -> Result<Self, ProtobufError> {
        let pvc = message::<wire::Claim>(object)?;
        let status = pvc.status.map(|status| PersistentVolumeClaimStatus {
            phase: optional(status.phase),
            ..PersistentVolumeClaimStatus::default()
        });
        let metadata = pvc.metadata.unwrap_or_default().into();
        Ok(Self(PersistentVolumeClaim { metadata, spec: None, status }))
    }
}

impl From<wire::ObjectMeta> for ObjectMeta {
    fn from(meta: wire::ObjectMeta) -> Self {
        Self {
            name: optional(meta.name),
            uid: optional(meta.uid),
            resource_version: optional(meta.resource_version),
            creation_timestamp: time(meta.creation_timestamp),
            deletion_timestamp: time(meta.deletion_timestamp),
            labels: map(meta.labels),
            annotations: map(meta.annotations),
            ..Self::default()
        }
    }
}

impl From<wire::Container> for Container {
    fn from(container: wire::Container) -> Self {
        let secrets: Vec<_> = container.env_from.into_iter().filter_map(secret_source).collect();
        let env_from = (!secrets.is_empty()).then_some(secrets);
        Self { name: text(container.name), env_from, ..Self::default() }
    }
}

/// Returns the source if it is a Secret. Nobody asks for the others.
fn secret_source(source: wire::EnvFromSource) -> Option<EnvFromSource> {
    let secret = source.secret_ref?;
    let name = text(secret.object.unwrap_or_default().name);
    let secret_ref = Some(SecretEnvSource { name, optional: secret.optional });
    Some(EnvFromSource { secret_ref, prefix: optional(source.prefix), ..EnvFromSource::default() })
}

impl From<wire::PodStatus> for PodStatus {
    fn from(status: wire::PodStatus) -> Self {
        Self {
            phase: optional(status.phase),
            reason: optional(status.reason),
            message: optional(status.message),
            pod_ip: optional(status.pod_ip),
            conditions: list(status.conditions),
            init_container_statuses: list(status.init_container_statuses),
            container_statuses: list(status.container_statuses),
            ..Self::default()
        }
    }
}

impl From<wire::PodCondition> for PodCondition {
    fn from(condition: wire::PodCondition) -> Self {
        Self {
            type_: text(condition.kind),
            status: text(condition.status),
            last_transition_time: time(condition.last_transition_time),
            reason: optional(condition.reason),
            message: optional(condition.message),
            ..Self::default()
        }
    }
}

impl From<wire::ContainerStatus> for ContainerStatus {
    fn from(status: wire::ContainerStatus) -> Self {
        Self {
            name: text(status.name),
            state: status.state.map(ContainerState::from),
            last_state: status.last_state.map(ContainerState::from),
            restart_count: status.restart_count,
            image: text(status.image),
            ..Self::default()
        }
    }
}

impl From<wire::ContainerState> for ContainerState {
    fn from(state: wire::ContainerState) -> Self {
        Self {
            waiting: state.waiting.map(|waiting| ContainerStateWaiting {
                reason: optional(waiting.reason),
                message: optional(waiting.message),
            }),
            running: state
                .running
                .map(|running| ContainerStateRunning { started_at: time(running.started_at) }),
            terminated: state.terminated.map(|terminated| ContainerStateTerminated {
                exit_code: terminated.exit_code,
                signal: Some(terminated.signal).filter(|signal| *signal != 0),
                reason: optional(terminated.reason),
                message: optional(terminated.message),
                started_at: time(terminated.started_at),
                finished_at: time(terminated.finished_at),
                container_id: None,
            }),
        }
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The API server also writes the fields that an object does not have: as empty ones.
fn optional(bytes: Vec<u8>) -> Option<String> {
    (!bytes.is_empty()).then(|| text(bytes))
}

fn time(time: Option<wire::Time>) -> Option<Time> {
    Timestamp::from_second(time?.seconds?).ok().map(Time)
}

fn map(entries: Vec<wire::Entry>) -> Option<BTreeMap<String, String>> {
    let entries = entries.into_iter().map(|entry| (text(entry.key), text(entry.value)));
    Some(entries.collect()).filter(|map: &BTreeMap<_, _>| !map.is_empty())
}

fn list<W, K: From<W>>(items: Vec<W>) -> Option<Vec<K>> {
    (!items.is_empty()).then(|| items.into_iter().map(K::from).collect())
}

#[cfg(test)]
#[path = "protobuf_tests.rs"]
mod tests;
