//! Sessions as Pods and PersistentVolumeClaims of a Kubernetes cluster.
//!
//! Everything that matters is in the cluster: the claim's annotations say what the session is ([`record`]) and what is
//! wanted of it ([`wanted`]); so any number of routers give the same answers, and each goes on where another one was
//! killed. Four watches feed one index; from it follow what is told ([`sight`]) and what is to be done ([`step`](mod@step)).
//! No question waits for the API server, and with it away what runs goes on being served.

pub mod admin;
mod attend;
mod calls;
pub mod connect;
pub mod credentials;
mod drive;
mod failure;
mod follow;
mod index;
mod kept;
pub mod lease;
pub mod manifest;
mod observe;
pub mod patch;
pub mod record;
mod settings;
pub mod sight;
mod stages;
pub mod step;
mod verbs;
pub mod wanted;
mod watches;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use session_key::SessionHash;
use tokio::{
    sync::{Semaphore, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    backend::{BackendError, SessionBackend, UnsavedWork, WatchEvent},
    clock::Clock,
    keyed_mutex::KeyedMutex,
    model::{Credentials, Session, StopReason},
    opencode::health,
    publisher::Publisher,
};
use calls::Calls;
use drive::Loops;
use index::Index;
use lease::ReaperLease;
pub use settings::{ContainerResources, KubernetesSettings};

pub use crate::publisher::UNREAD_CHANGES;

/// How often what depends on time alone is looked at.
const TICK: Duration = Duration::from_secs(5);
/// How long the first snapshot waits for what runs already to be asked whether it answers.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// Sessions of one namespace. Its tasks end with [`shutdown`](SessionBackend::shutdown), or when it is dropped; the sessions go on.
pub struct KubernetesBackend(Arc<Inner>);

struct Inner {
    settings: KubernetesSettings,
    client: kube::Client,
    calls: Calls,
    index: Arc<Index>,
    publisher: Arc<Publisher>,
    clock: Arc<dyn Clock>,
    http: reqwest::Client,
    lease: ReaperLease,
    loops: Loops,
    /// Held while a Pod is made, or a claim is deleted.
    making: KeyedMutex<SessionHash>,
    /// Whose turn it is to be asked.
    turns: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// What there is was told.
    ready: watch::Sender<bool>,
}

impl KubernetesBackend {
    /// Begins to watch, to act, and to seek the reaper's Lease. It asks nothing and waits for nothing: an API server that
    /// is away is waited for by the tasks that this starts.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start_up(client: kube::Client, settings: KubernetesSettings, clock: Arc<dyn Clock>) -> Arc<Self> {
        let publisher = Publisher::new();
        let (index, kicked) = Index::new(publisher.clone(), clock.clone());
        let index = Arc::new(index);
        let inner = Arc::new(Inner {
            calls: Calls::new(&client, &settings.namespace),
            lease: ReaperLease::seek(&client, &settings, clock.clone()),
            http: health::client()
                .expect("a client without TLS, proxies and files has nothing that could fail"),
            client,
            index,
            publisher,
            clock,
            settings,
            loops: Loops::default(),
            making: KeyedMutex::default(),
            turns: Semaphore::new(attend::AT_ONCE),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            ready: watch::Sender::new(false),
        });
        let work = Box::pin(work(inner.clone(), kicked));
        let stop = inner.stop.clone();
        inner.tasks.spawn(async move { stop.run_until_cancelled(work).await });
        Arc::new(Self(inner))
    }
}

/// All that goes on by itself.
async fn work(inner: Arc<Inner>, kicked: tokio::sync::mpsc::UnboundedReceiver<SessionHash>) {
    let watches = watches::watch(inner.client.clone(), inner.settings.namespace.clone(), inner.index.clone());
    let begin = async {
        inner.index.all_listed().await;
        // Nothing is done before it is known what there is; what came until then waits in `kicked`.
        let first_look = async {
            if timeout(FIRST_LOOK, inner.index.asked()).await.is_err() {
                tracing::info!("not all that runs answers yet");
            }
            inner.ready.send_replace(true);
        };
        tokio::join!(first_look, drive::drive(inner.clone(), kicked));
    };
    let ticks = async {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            inner.index.tick();
        }
    };
    tokio::join!(watches, begin, ticks);
}

#[async_trait]
impl SessionBackend for KubernetesBackend {
    async fn start(&self, session: &Session, credentials: &Credentials) -> Result<(), BackendError> {
        self.0.start(session, credentials).await
    }

    async fn stop(&self, hash: SessionHash, why: StopReason) -> Result<(), BackendError> {
        self.0.stop(hash, why).await
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

    fn watch(&self) -> BoxStream<'static, WatchEvent> {
        let mut ready = self.0.ready.subscribe();
        let (news, stop) = (self.0.publisher.watch(), self.0.stop.clone());
        let begun = async move {
            // The sender ends with the backend, and with it the news.
            let _ = stop.run_until_cancelled(ready.wait_for(|ready| *ready)).await;
        };
        stream::once(begun).filter_map(|()| std::future::ready(None)).chain(news).boxed()
    }

    async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, BackendError> {
        self.0.logs(hash, lines).await
    }

    async fn unsaved_work(&self, hash: SessionHash) -> Result<Option<UnsavedWork>, BackendError> {
        self.0.unsaved_work(hash).await
    }

    fn reaps(&self) -> bool {
        self.0.lease.is_held()
    }

    async fn shutdown(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.lease.release().await;
        self.0.publisher.end();
    }
}

impl Drop for KubernetesBackend {
    fn drop(&mut self) {
        self.0.stop.cancel();
        self.0.publisher.end();
    }
}
