//! Sessions as Pods and PersistentVolumeClaims of a Kubernetes cluster.
//!
//! - what is there: `watcher` (list and watch) of `watched` objects, by `watch_events` as `protobuf` or JSON
//!   → `cache` (the newest version of each) → `store`, with a `cached_session` for each session
//! - what it means: `session`, `desired` (the claim's annotations) and `status`
//! - what to do: `reconcile` (pure), `controller` (the work queue), `commands` (what users ask for)
//! - what users store for their sessions: `user_secrets`; images before they are needed: `image_puller`
//! - asking the Pod: `prober` (is opencode healthy?), `agent` (its ports), `logs`
//! - for administrators: `usage` (where Pods run and what they use), `pod_metrics`, `admin`
//! - the cluster: `api`, `leader` (leader election), `connect`, `settings`
//! - `objects`: the manifests, as pure functions
//! - `testing` (feature `test-util`): a namespace of a test cluster, a simulated node
//!
//! The claims are the only database, so any number of routers give the same answers, and each continues where
//! another one was killed. Reads come from the store: while the API server is away, running sessions are
//! served as before.

pub mod admin;
mod agent;
pub mod api;
pub mod backend;
mod cache;
mod cached_session;
mod commands;
pub mod connect;
mod context;
mod controller;
pub mod desired;
pub mod image_puller;

pub mod leader;
mod logs;
pub mod objects;
mod pod_metrics;
mod prober;
mod protobuf;
pub mod reconcile;
pub mod session;
pub mod settings;
pub mod status;
mod store;
#[cfg(feature = "test-util")]
pub mod testing;
mod usage;
mod user_secrets;
mod watch_events;
mod watched;
mod watcher;

pub use backend::KubernetesBackend;
pub use image_puller::ImagePuller;
pub use settings::{ContainerResources, KubernetesSettings};

pub use crate::publisher::UNREAD_CHANGES;
