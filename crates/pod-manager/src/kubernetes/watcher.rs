//! Follows all objects of one kind: a list, and then a watch that goes on where the list ended.
//!
//! kube's own `watcher` does not tell how new a list is, and by that alone it is known whether what a list lacks is gone
//! or was made after it; and of a watch that is refused as too old it asks for ever.

use std::{collections::BTreeSet, fmt::Debug, pin::pin, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join4};
use k8s_openapi::{
    api::core::v1::{Event, PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, WatchEvent, WatchParams},
};
use rand::RngExt;
use serde::de::DeserializeOwned;
use session_key::SessionHash;
use tokio::time::{Instant, timeout};

use super::{
    cache::version,
    objects::names::MANAGED_BY,
    session,
    store::{Store, WatchSource},
};

/// After so many seconds a watch is begun anew where it was; a connection that died unseen is seen to be dead then.
const WATCH_SECONDS: u32 = 120;
/// How long after that it is waited for, and how long an answer may take to begin.
const LATE: Duration = Duration::from_secs(15);
/// Between two attempts, at first and at most. A watch that held for longer than that was one.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// Objects of one page of a list.
const PAGE: u32 = 500;
/// By this mark the API server says that a streamed list is whole.
const LIST_ENDS: &str = "k8s.io/initial-events-end";

/// What is done with each object.
trait Cached: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static {
    fn apply(self, store: &Store);
    fn forget(&self, store: &Store);
}

/// Selector objects.
enum Selector {
    Labels(String),
    Fields(String),
}

/// Why a watch ended.
enum WatchEnd {
    /// As it is to: it goes on where it was.
    Over,
    /// It can't go on where it was: what was between is forgotten there.
    TooOld,
    /// The API server streams no lists.
    NotStreamed,
    Lost(String),
}

impl From<kube::Error> for WatchEnd {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 410 => Self::TooOld,
            error => Self::Lost(error.to_string()),
        }
    }
}

/// One kind of object, and how far it was followed.
struct Watcher<'a, K> {
    api: Api<K>,
    which: Selector,
    source: WatchSource,
    store: &'a Store,
    /// Lists come as the beginning of a watch.
    streams: bool,
    /// Where the next watch goes on; `None`: with a list.
    at: Option<String>,
    /// Something was told since the last pause.
    heard: bool,
}

impl<'a, K: Cached> Watcher<'a, K> {
    fn new(api: Api<K>, which: Selector, source: WatchSource, store: &'a Store, streams: bool) -> Self {
        Self { api, which, source, store, streams, at: None, heard: false }
    }

    /// For ever.
    async fn run(mut self) {
        let mut pause = PAUSES[0];
        let mut warned = false;
        loop {
            let begun = Instant::now();
            let end = self.watch().await;
            // What is refused again and again is asked for less and less often.
            if std::mem::take(&mut self.heard) || begun.elapsed() > PAUSES[1] {
                (pause, warned) = (PAUSES[0], false);
            }
            match end {
                WatchEnd::Over => {}
                WatchEnd::TooOld => {
                    tracing::info!(source = ?self.source, "a watch can't go on where it was; all is listed anew");
                    self.at = None;
                }
                WatchEnd::NotStreamed => {
                    tracing::info!(source = ?self.source, "the API server streams no lists; they are asked for");
                    self.streams = false;
                    continue;
                }
                WatchEnd::Lost(error) => {
                    if !std::mem::replace(&mut warned, true) {
                        tracing::warn!(source = ?self.source, error, "a watch was lost; what is known goes on being served");
                    }
                }
            }
            tokio::time::sleep(jitter(pause)).await;
            pause = (pause * 2).min(PAUSES[1]);
        }
    }

    /// Until the watch ends.
    async fn watch(&mut self) -> WatchEnd {
        match self.try_watch().await {
            Ok(()) => WatchEnd::Over,
            Err(end) => end,
        }
    }

    async fn try_watch(&mut self) -> Result<(), WatchEnd> {
        if self.at.is_none() && !self.streams {
            self.list().await?;
        }
        let params = WatchParams::default().timeout(WATCH_SECONDS);
        let params = match &self.which {
            Selector::Labels(labels) => params.labels(labels),
            Selector::Fields(fields) => params.fields(fields),
        };
        // Without a version the list is of what is there now, and not of what some API server still remembers.
        let (params, from, mut listing) = match &self.at {
            Some(at) => (params, at.clone(), None),
            None => (params.initial_events(), String::new(), Some(BTreeSet::new())),
        };
        let opened = timeout(LATE, self.api.watch(&params, &from)).await.map_err(|_| too_late())?;
        let mut news = pin!(opened.map_err(|error| match error {
            kube::Error::Api(status) if listing.is_some() && matches!(status.code, 400 | 422) =>
                WatchEnd::NotStreamed,
            error => error.into(),
        })?);
        let silence = Duration::from_secs(WATCH_SECONDS.into()) + LATE;
        while let Some(event) = timeout(silence, news.next()).await.map_err(|_| too_late())? {
            match event {
                Ok(WatchEvent::Error(status)) => return Err(kube::Error::Api(status).into()),
                Ok(event) => self.take(event, &mut listing),
                Err(kube::Error::SerdeError(error)) => {
                    tracing::warn!(source = ?self.source, %error, "what the API server tells can't be read; it is left out");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn take(&mut self, event: WatchEvent<K>, listing: &mut Option<BTreeSet<SessionHash>>) {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let meta = object.meta().clone();
                object.apply(self.store);
                match listing {
                    Some(there) => there.extend(session::hash_of(&meta)),
                    None => self.observed_version(&meta),
                }
            }
            WatchEvent::Deleted(object) => {
                object.forget(self.store);
                match listing {
                    Some(there) => {
                        if let Some(hash) = session::hash_of(object.meta()) {
                            there.remove(&hash);
                        }
                    }
                    None => self.observed_version(object.meta()),
                }
            }
            WatchEvent::Bookmark(mark) => {
                let ends = mark.metadata.annotations.contains_key(LIST_ENDS);
                let at = mark.metadata.resource_version;
                match listing.take_if(|_| ends) {
                    Some(there) => self.synced(&there, at),
                    None if listing.is_none() => {
                        let meta = ObjectMeta { resource_version: Some(at), ..ObjectMeta::default() };
                        self.observed_version(&meta);
                    }
                    // Not whole yet: a watch that is lost now begins with a list again.
                    None => {}
                }
            }
            // It has ended the watch.
            WatchEvent::Error(_) => {}
        }
    }

    /// All that was so until then is known.
    fn observed_version(&mut self, meta: &ObjectMeta) {
        self.store.observed_version(self.source, version(meta));
        self.at.clone_from(&meta.resource_version);
        self.heard = true;
    }

    fn synced(&mut self, there: &BTreeSet<SessionHash>, at: String) {
        self.store.synced(self.source, there, at.parse().unwrap_or(0));
        self.at = Some(at);
    }

    /// Asks for all there is.
    async fn list(&mut self) -> Result<(), WatchEnd> {
        let params = ListParams::default().limit(PAGE);
        let mut params = match &self.which {
            Selector::Labels(labels) => params.labels(labels),
            Selector::Fields(fields) => params.fields(fields),
        };
        let mut there = BTreeSet::new();
        loop {
            let page = timeout(LATE, self.api.list(&params)).await.map_err(|_| too_late())??;
            for object in page.items {
                there.extend(session::hash_of(object.meta()));
                object.apply(self.store);
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                let at = page.metadata.resource_version.filter(|at| !at.is_empty());
                let at = at.ok_or_else(|| WatchEnd::Lost("a list that does not say how new it is".into()))?;
                self.synced(&there, at);
                return Ok(());
            }
        }
    }
}

fn too_late() -> WatchEnd {
    WatchEnd::Lost("the API server does not answer".into())
}

impl Cached for PersistentVolumeClaim {
    fn apply(self, store: &Store) {
        store.apply_pvc(self);
    }
    fn forget(&self, store: &Store) {
        store.forget_pvc(self);
    }
}

impl Cached for Pod {
    fn apply(self, store: &Store) {
        store.apply_pod(self);
    }
    fn forget(&self, store: &Store) {
        store.forget_pod(self);
    }
}

impl Cached for Event {
    fn apply(self, store: &Store) {
        store.apply_event(self);
    }
    // An Event runs out after an hour; what it said was so all the same.
    fn forget(&self, _: &Store) {}
}

/// Watches for ever.
pub(super) async fn watch_all(client: Client, namespace: String, store: Arc<Store>) {
    let ours = || Selector::Labels(format!("app.kubernetes.io/managed-by={MANAGED_BY}"));
    let about = |kind: &str| Selector::Fields(format!("involvedObject.kind={kind}"));
    let pvcs = Api::<PersistentVolumeClaim>::namespaced(client.clone(), &namespace);
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace);
    let events = Api::<Event>::namespaced(client, &namespace);
    // The API server keeps no cache of Events, from which lists are streamed best.
    join4(
        Box::pin(Watcher::new(pvcs, ours(), WatchSource::Pvcs, &store, true).run()),
        Box::pin(Watcher::new(pods, ours(), WatchSource::Pods, &store, true).run()),
        Box::pin(Watcher::new(events.clone(), about("Pod"), WatchSource::PodEvents, &store, false).run()),
        Box::pin(
            Watcher::new(events, about("PersistentVolumeClaim"), WatchSource::PvcEvents, &store, false).run(),
        ),
    )
    .await;
}

/// Varies a pause by up to a fifth, so that routers do not act in step.
pub(super) fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.8..1.2))
}
