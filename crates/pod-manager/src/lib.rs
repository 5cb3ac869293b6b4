//! Sessions of opencode: what they are, how they are created and run, and when they are stopped.
//!
//! - [`model`] has the types: a [`Session`], and its [`SessionStatus`] with a [`Phase`].
//! - A [`SessionBackend`] (Kubernetes, local processes, memory) creates and runs sessions, and reports their
//!   statuses as events.
//! - The [`Manager`] turns the events into an index that answers every question from memory. It watches
//!   running sessions, sends first prompts and stops idle sessions. It works with every backend.
//!
//! This crate contains no HTTP server; the `api` and `router-bin` crates put one in front of the manager.

pub mod attach;
pub mod backend;
pub mod backoff;
pub mod clock;
#[cfg(feature = "test-util")]
pub mod contract;
mod git_author;
#[cfg(any(feature = "kubernetes", all(feature = "local", unix)))]
mod git_output;
pub mod image;
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
#[cfg(any(feature = "kubernetes", all(feature = "local", unix)))]
mod persisted_attach;
pub mod ports;
#[cfg(any(feature = "kubernetes", all(feature = "local", unix), feature = "test-util"))]
mod publisher;
mod session_addresses;
pub mod user_secrets;

pub use attach::{AttachSecret, AttachToken, AttachTokenId, AttachTokens};
pub use backend::{BackendError, SessionBackend, UnsavedWork, Usage, WatchEvent};
#[cfg(feature = "test-util")]
pub use clock::ManualClock;
pub use clock::{Clock, SystemClock};
pub use image::{PullError, PullImage, PulledImage};
#[cfg(feature = "kubernetes")]
pub use kubernetes::{KubernetesBackend, KubernetesSettings};
#[cfg(all(feature = "local", unix))]
pub use local::{LocalBackend, LocalError, LocalSettings};
pub use manager::{
    AlwaysLeader, AttachGrant, Created, EventScope, Following, Leadership, Limit, Manager, ManagerError,
    ManagerSettings, NewSession, Role, RouteError, SessionEvents, Subscription, ThreadMessage,
    ThreadSubscription, ThreadUpdate, View, ViewState, Waited, WaitingLimits, WakeError, WakeStart,
};
#[cfg(feature = "test-util")]
pub use memory::MemoryBackend;
pub use model::{
    Credentials, Endpoint, Failure, FailureCode, GitAuthor, Password, Phase, Session, SessionStatus, Source,
    Stage, StageRecord, StopReason, Token,
};
pub use ports::{ListeningPort, Relay, SessionPorts};
pub use session_addresses::SessionAddresses;
pub use user_secrets::{SecretName, SecretValue, SecretsChange, SecretsError, UserSecrets};
