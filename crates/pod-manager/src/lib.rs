//! What opencode sessions are, who brings them about, and when they stop.
//!
//! A [`SessionBackend`] (Kubernetes, local processes, memory) makes sessions real and tells what it
//! sees by [`SessionBackend::watch`]; the manager, shared by all of them, keeps the one index that
//! every question is answered from, and decides when a session is idle. Nothing here knows of HTTP
//! servers.

pub mod backend;
mod backoff;
pub mod clock;
#[cfg(feature = "test-util")]
pub mod contract;
#[cfg(any(feature = "kubernetes", all(feature = "local", unix)))]
mod git_output;
mod innermost;
mod keyed_mutex;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
#[cfg(all(feature = "local", unix))]
pub mod local;
pub mod manager;
#[cfg(feature = "test-util")]
pub mod memory;
pub mod model;
mod opencode;
#[cfg(any(feature = "kubernetes", all(feature = "local", unix)))]
mod persisted;
#[cfg(any(feature = "kubernetes", all(feature = "local", unix), feature = "test-util"))]
mod publisher;

pub use backend::{BackendError, SessionBackend, UnsavedWork, WatchEvent};
#[cfg(feature = "test-util")]
pub use clock::ManualClock;
pub use clock::{Clock, SystemClock};
#[cfg(feature = "kubernetes")]
pub use kubernetes::{KubernetesBackend, KubernetesSettings};
#[cfg(all(feature = "local", unix))]
pub use local::{LocalBackend, LocalError, LocalSettings};
pub use manager::{
    AlwaysLeader, Created, Leadership, Limit, Manager, ManagerError, ManagerSettings, NewSession, RouteError,
    Subscription, View, ViewState,
};
#[cfg(feature = "test-util")]
pub use memory::MemoryBackend;
pub use model::{
    Credentials, Endpoint, Failure, FailureCode, Password, Phase, Session, SessionStatus, Source, Stage,
    StageRecord, StopReason, Token,
};
