//! The backend itself: starts the tasks, and answers the trait by them.

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

use super::{
    api::ApiClient, context::Context, controller, leader::LeaderElector, prober,
    settings::KubernetesSettings, store::Store, watcher,
};
use crate::{
    backend::{BackendError, SessionBackend, UnsavedWork, WatchEvent},
    clock::Clock,
    keyed_mutex::KeyedMutex,
    manager::Leadership,
    model::{Credentials, Session, StopReason},
    opencode::HttpClient,
    publisher::Publisher,
};

/// How often what depends on time alone is looked at.
const TICK: Duration = Duration::from_secs(5);
/// How long the first snapshot waits for what runs already to be asked whether it answers.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// Sessions of one namespace. Its tasks end with [`shutdown`](SessionBackend::shutdown), or when it is dropped; the sessions go on.
pub struct KubernetesBackend(Arc<Context>);

impl KubernetesBackend {
    /// Begins to watch, to act, and to seek the reaper's Lease. It asks nothing and waits for nothing: an API server that
    /// is away is waited for by the tasks that this starts.
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
            leader: LeaderElector::start(&client, &settings, clock.clone()),
            http: HttpClient::new(),
            client,
            store,
            publisher,
            clock,
            settings,
            lifecycle: KeyedMutex::default(),
            probe_permits: Semaphore::new(prober::MAX_CONCURRENT),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            ready: watch::Sender::new(false),
        });
        let work = Box::pin(work(ctx.clone(), queue));
        let stop = ctx.stop.clone();
        ctx.tasks.spawn(async move { stop.run_until_cancelled(work).await });
        Arc::new(Self(ctx))
    }
}

/// All that goes on by itself.
async fn work(ctx: Arc<Context>, queue: tokio::sync::mpsc::UnboundedReceiver<SessionHash>) {
    let watches = watcher::watch_all(ctx.client.clone(), ctx.settings.namespace.clone(), ctx.store.clone());
    let begin = async {
        ctx.store.wait_synced().await;
        // Nothing is done before it is known what there is; what came until then waits in the queue.
        let first_look = async {
            if timeout(FIRST_LOOK, ctx.store.asked()).await.is_err() {
                tracing::info!("not all that runs answers yet");
            }
            ctx.ready.send_replace(true);
        };
        tokio::join!(first_look, controller::reconcile_loop(ctx.clone(), queue));
    };
    let ticks = async {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            ctx.store.tick();
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

    async fn shutdown(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.leader.release().await;
        self.0.publisher.end();
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
