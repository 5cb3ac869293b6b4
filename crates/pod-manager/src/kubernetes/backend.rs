//! The backend: starts the tasks, and implements the traits with them.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use session_key::SessionHash;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    agent, api::ApiClient, context::Context, controller, leader::LeaderElector, pod_metrics::PodMetrics,
    prober, settings::KubernetesSettings, store::Store, watcher,
};
use crate::{
    attach::AttachChange,
    backend::{BackendError, SessionBackend, UnsavedWork, Usage, WatchEvent},
    clock::Clock,
    keyed_mutex::KeyedMutex,
    manager::leadership::Leadership,
    model::{Credentials, Endpoint, Session, StopReason},
    opencode::health::HealthChecks,
    ports::SessionPorts,
    publisher::Publisher,
    user_secrets::UserSecrets,
};

/// How often statuses that depend on the time are updated.
const TICK: Duration = Duration::from_secs(5);
/// How long the first snapshot waits for the first probes of the sessions that run.
const FIRST_PROBES_TIMEOUT: Duration = Duration::from_secs(3);

/// The sessions of one namespace. Its tasks end with [`shutdown`](SessionBackend::shutdown), or when it is
/// dropped; the sessions continue.
pub struct KubernetesBackend(Arc<Context>);

impl KubernetesBackend {
    /// Starts the tasks that watch, reconcile and take part in the leader election. It returns at once,
    /// whether or not the API server answers.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start_up(client: kube::Client, settings: KubernetesSettings, clock: Arc<dyn Clock>) -> Arc<Self> {
        let publisher = Publisher::new();
        let (store, queue) = Store::new(publisher.clone(), clock.clone());
        let store = Arc::new(store);
        let ctx = Arc::new(Context {
            api: ApiClient::new(&client, &settings.namespace),
            leader: LeaderElector::start(&client, settings.election(), clock.clone()),
            health_checks: HealthChecks::new(),
            metrics: PodMetrics::default(),
            client,
            store,
            publisher,
            clock,
            settings,
            lifecycle: KeyedMutex::default(),
            port_reports: KeyedMutex::default(),
            password_permits: Semaphore::new(prober::MAX_READS),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            ready: watch::Sender::new(false),
        });
        let run = Box::pin(run(ctx.clone(), queue));
        let stop = ctx.stop.clone();
        ctx.tasks.spawn(async move { stop.run_until_cancelled(run).await });
        Arc::new(Self(ctx))
    }
}

/// Watches, reconciles and ticks until it is cancelled.
async fn run(ctx: Arc<Context>, queue: mpsc::UnboundedReceiver<SessionHash>) {
    let watches = watcher::watch_all(ctx.client.clone(), ctx.settings.namespace.clone(), ctx.store.clone());
    let reconcile = async {
        // Until all objects are known, changes wait in the queue.
        let started = Instant::now();
        ctx.store.wait_synced().await;
        let first_snapshot = async {
            let listed = Instant::now();
            if timeout(FIRST_PROBES_TIMEOUT, ctx.store.wait_probed()).await.is_err() {
                tracing::info!("not all running sessions answer yet");
            }
            tracing::info!(lists = ?(listed - started), first_probes = ?listed.elapsed(), "sessions known");
            ctx.ready.send_replace(true);
        };
        tokio::join!(first_snapshot, controller::reconcile_loop(ctx.clone(), queue));
    };
    let ticks = async {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            ctx.store.tick();
        }
    };
    tokio::join!(watches, reconcile, ticks);
}

#[async_trait]
impl SessionBackend for KubernetesBackend {
    async fn start(&self, session: &Session, credentials: &Credentials) -> Result<(), BackendError> {
        Box::pin(self.0.start(session, credentials)).await
    }

    async fn stop(&self, hash: SessionHash, reason: StopReason) -> Result<(), BackendError> {
        self.0.stop(hash, reason).await
    }

    async fn delete(&self, hash: SessionHash) -> Result<(), BackendError> {
        self.0.delete(hash).await
    }

    async fn touch(&self, hash: SessionHash, at: SystemTime) -> Result<(), BackendError> {
        self.0.touch(hash, at).await
    }

    async fn mark_first_prompt_sent(&self, hash: SessionHash) -> Result<(), BackendError> {
        self.0.mark_first_prompt_sent(hash).await
    }

    async fn change_attach_tokens(
        &self,
        hash: SessionHash,
        change: AttachChange,
    ) -> Result<(), BackendError> {
        self.0.change_attach_tokens(hash, &change).await
    }

    fn watch(&self) -> BoxStream<'static, WatchEvent> {
        let mut ready = self.0.ready.subscribe();
        let (events, stop) = (self.0.publisher.watch(), self.0.stop.clone());
        let wait_ready = async move {
            // It fails only once the backend is dropped, which ends the events.
            let _ = stop.run_until_cancelled(ready.wait_for(|ready| *ready)).await;
        };
        stream::once(wait_ready).filter_map(|()| std::future::ready(None)).chain(events).boxed()
    }

    async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, BackendError> {
        self.0.logs(hash, lines).await
    }

    async fn unsaved_work(&self, hash: SessionHash) -> Result<Option<UnsavedWork>, BackendError> {
        self.0.unsaved_work(hash).await
    }

    async fn usage(&self) -> HashMap<SessionHash, Usage> {
        self.0.usage().await
    }

    fn user_secrets(&self) -> &dyn UserSecrets {
        self
    }

    fn watch_ports(&self, hash: SessionHash, endpoint: &Endpoint) -> BoxStream<'static, SessionPorts> {
        agent::watch_ports(self.0.clone(), hash, endpoint.clone())
    }

    async fn report_ports(&self, hash: SessionHash, ports: &[u16]) -> Result<(), BackendError> {
        agent::report_ports(&self.0, hash, ports).await
    }

    fn conflicts(&self) -> u64 {
        self.0.store.conflicts()
    }

    async fn shutdown(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.leader.release().await;
        self.0.publisher.end();
    }
}

impl KubernetesBackend {
    pub(super) fn context(&self) -> &Context {
        &self.0
    }
}

impl Leadership for KubernetesBackend {
    fn is_leader(&self) -> bool {
        self.0.leader.is_leader()
    }
}

impl Drop for KubernetesBackend {
    fn drop(&mut self) {
        self.0.stop.cancel();
        self.0.publisher.end();
    }
}
