//! The messages, by the numbers in `generated.proto`. Fields that are missing here are skipped.

use bytes::Bytes;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct WatchEvent {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) kind: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub(super) object: Option<RawExtension>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RawExtension {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) raw: Bytes,
}

/// The envelope of an object.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Unknown {
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) raw: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(bytes = "vec", tag = "3")]
    pub(super) message: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) reason: Vec<u8>,
    #[prost(int32, tag = "6")]
    pub(super) code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ObjectMeta {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) uid: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    pub(super) resource_version: Vec<u8>,
    #[prost(message, optional, tag = "8")]
    pub(super) creation_timestamp: Option<Time>,
    #[prost(message, optional, tag = "9")]
    pub(super) deletion_timestamp: Option<Time>,
    #[prost(message, repeated, tag = "11")]
    pub(super) labels: Vec<Entry>,
    #[prost(message, repeated, tag = "12")]
    pub(super) annotations: Vec<Entry>,
}

/// An entry of a map of texts.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// A point in time. An unset time may be sent as a message without `seconds`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Time {
    #[prost(int64, optional, tag = "1")]
    pub(super) seconds: Option<i64>,
}

/// A PersistentVolumeClaim. The object of a bookmark has metadata alone, whatever its kind.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Claim {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "3")]
    pub(super) status: Option<ClaimStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ClaimStatus {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) phase: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Pod {
    #[prost(message, optional, tag = "1")]
    pub(super) metadata: Option<ObjectMeta>,
    #[prost(message, optional, tag = "2")]
    pub(super) spec: Option<PodSpec>,
    #[prost(message, optional, tag = "3")]
    pub(super) status: Option<PodStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PodSpec {
    #[prost(message, repeated, tag = "2")]
    pub(super) containers: Vec<Container>,
    #[prost(bytes = "vec", tag = "10")]
    pub(super) node_name: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Container {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
    #[prost(message, repeated, tag = "19")]
    pub(super) env_from: Vec<EnvFromSource>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct EnvFromSource {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) prefix: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    pub(super) secret_ref: Option<SecretEnvSource>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SecretEnvSource {
    #[prost(message, optional, tag = "1")]
    pub(super) object: Option<LocalObjectReference>,
    #[prost(bool, optional, tag = "2")]
    pub(super) optional: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LocalObjectReference {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PodStatus {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) phase: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    pub(super) conditions: Vec<PodCondition>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) message: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) reason: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    pub(super) pod_ip: Vec<u8>,
    #[prost(message, repeated, tag = "8")]
    pub(super) container_statuses: Vec<ContainerStatus>,
    #[prost(message, repeated, tag = "10")]
    pub(super) init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PodCondition {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) kind: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) status: Vec<u8>,
    #[prost(message, optional, tag = "4")]
    pub(super) last_transition_time: Option<Time>,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) reason: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    pub(super) message: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerStatus {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub(super) state: Option<ContainerState>,
    #[prost(message, optional, tag = "3")]
    pub(super) last_state: Option<ContainerState>,
    #[prost(int32, tag = "5")]
    pub(super) restart_count: i32,
    #[prost(bytes = "vec", tag = "6")]
    pub(super) image: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerState {
    #[prost(message, optional, tag = "1")]
    pub(super) waiting: Option<Waiting>,
    #[prost(message, optional, tag = "2")]
    pub(super) running: Option<Running>,
    #[prost(message, optional, tag = "3")]
    pub(super) terminated: Option<Terminated>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Waiting {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) reason: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) message: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Running {
    #[prost(message, optional, tag = "1")]
    pub(super) started_at: Option<Time>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Terminated {
    #[prost(int32, tag = "1")]
    pub(super) exit_code: i32,
    #[prost(int32, tag = "2")]
    pub(super) signal: i32,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) reason: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) message: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    pub(super) started_at: Option<Time>,
    #[prost(message, optional, tag = "6")]
    pub(super) finished_at: Option<Time>,
}
