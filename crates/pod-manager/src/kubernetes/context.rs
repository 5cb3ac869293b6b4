//! What the functions of the backend share.

use std::sync::Arc;

use session_key::SessionHash;
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    api::ApiClient, leader::LeaderElector, pod_metrics::PodMetrics, settings::KubernetesSettings,
    store::Store,
};
use crate::{clock::Clock, keyed_mutex::KeyedMutex, opencode::health::HealthChecks, publisher::Publisher};

pub(super) struct Context {
    pub(super) settings: KubernetesSettings,
    pub(super) client: kube::Client,
    pub(super) api: ApiClient,
    pub(super) store: Arc<Store>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) health_checks: HealthChecks,
    pub(super) leader: LeaderElector,
    pub(super) metrics: PodMetrics,
    /// Held while a session's Pod is created, and while its claim is deleted.
    pub(super) lifecycle: KeyedMutex<SessionHash>,
    /// Held while the ports that a session reports are written.
    pub(super) port_reports: KeyedMutex<SessionHash>,
    /// Limits the passwords that are read at the same time.
    pub(super) password_permits: Semaphore,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Whether the first snapshot is complete.
    pub(super) ready: watch::Sender<bool>,
}
