//! Lists and watches all objects of one kind, and keeps the store up to date with them.
//!
//! kube's own `watcher` does not report the version of a list. Without it, nobody knows whether an object
//! that the list lacks was deleted before it or created after it. And it repeats a watch that is refused as
//! too old forever.

use std::{collections::BTreeSet, fmt::Debug, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join4};
use k8s_openapi::{
    api::core::v1::{Event, PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use session_key::SessionHash;
use tokio::time::{Instant, timeout};

use super::{
    cache::version,
    objects::names::MANAGED_BY,
    protobuf::watch_event,
    session,
    store::{Store, WatchSource},
    watch_events::{self, Decode, EventError},
    watched::Watched,
};
use crate::backoff::Backoff;

/// After how many seconds a watch is renewed; a broken connection is noticed then at the latest.
const WATCH_SECONDS: u32 = 120;
/// How long a watch may be overdue, and how long a response may take to begin.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// The pauses between two watches. A watch that lasted longer than the second one has succeeded.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How many objects one page of a list has.
const PAGE_SIZE: u32 = 500;
/// The bookmark with this annotation ends a list that is streamed as the beginning of a watch.
const LIST_END: &str = "k8s.io/initial-events-end";

/// An object that the store keeps.
trait Cached: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static {
    /// How an event is read from protobuf, which costs the API server a fraction of what JSON does. `None`:
    /// it is JSON.
    const DECODE: Option<Decode<Self>>;

    fn apply(self, store: &Store);
    fn delete(&self, store: &Store);
}

impl Cached for Watched<PersistentVolumeClaim> {
    const DECODE: Option<Decode<Self>> = Some(watch_event);

    fn apply(self, store: &Store) {
        store.apply_pvc(self.0);
    }

    fn delete(&self, store: &Store) {
        store.delete_pvc(&self.0);
    }
}

impl Cached for Watched<Pod> {
    const DECODE: Option<Decode<Self>> = Some(watch_event);

    fn apply(self, store: &Store) {
        store.apply_pod(self.0);
    }

    fn delete(&self, store: &Store) {
        store.delete_pod(&self.0);
    }
}

impl Cached for Event {
    // There are few of them.
    const DECODE: Option<Decode<Self>> = None;

    fn apply(self, store: &Store) {
        store.apply_event(self);
    }

    // An Event expires after an hour; what it reported still happened.
    fn delete(&self, _: &Store) {}
}

/// Watches the objects of all sessions forever.
pub(super) async fn watch_all(client: Client, namespace: String, store: Arc<Store>) {
    let managed = || Selector::Labels(format!("app.kubernetes.io/managed-by={MANAGED_BY}"));
    let about = |kind: &str| Selector::Fields(format!("involvedObject.kind={kind}"));
    let pvcs = Api::<Watched<PersistentVolumeClaim>>::namespaced(client.clone(), &namespace);
    let pods = Api::<Watched<Pod>>::namespaced(client.clone(), &namespace);
    let events = Api::<Event>::namespaced(client, &namespace);
    let (pod_events, pvc_events) = (about("Pod"), about("PersistentVolumeClaim"));
    // The API server has no watch cache of Events, so it does not stream their lists well.
    join4(
        Box::pin(Watcher::new(pvcs, managed(), WatchSource::Pvcs, &store, true).run()),
        Box::pin(Watcher::new(pods, managed(), WatchSource::Pods, &store, true).run()),
        Box::pin(Watcher::new(events.clone(), pod_events, WatchSource::PodEvents, &store, false).run()),
        Box::pin(Watcher::new(events, pvc_events, WatchSource::PvcEvents, &store, false).run()),
    )
    .await;
}

enum Selector {
    Labels(String),
    Fields(String),
}

/// Why a watch ended.
enum WatchEnd {
    /// It ended as planned; the next one continues at the same version.
    Complete,
    /// The API server no longer knows the version to continue at.
    TooOld,
    /// The API server does not stream lists.
    StreamingUnsupported,
    /// The API server, or what is in front of it, does not send protobuf.
    ProtobufUnsupported,
    Failed(String),
}

impl From<kube::Error> for WatchEnd {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 410 => Self::TooOld,
            error => Self::Failed(error.to_string()),
        }
    }
}

/// Watches one kind of object.
struct Watcher<'a, K> {
    api: Api<K>,
    selector: Selector,
    source: WatchSource,
    store: &'a Store,
    /// Whether lists are streamed as the beginning of a watch.
    streams_lists: bool,
    /// See [`Cached::DECODE`].
    decode: Option<Decode<K>>,
    /// The version at which the next watch continues; `None`: it begins with a list.
    resource_version: Option<String>,
    /// Whether an event arrived since the last pause.
    received: bool,
}

impl<'a, K: Cached> Watcher<'a, K> {
    fn new(
        api: Api<K>,
        selector: Selector,
        source: WatchSource,
        store: &'a Store,
        streams_lists: bool,
    ) -> Self {
        let (decode, resource_version) = (K::DECODE, None);
        Self { api, selector, source, store, streams_lists, decode, resource_version, received: false }
    }

    /// Watches forever.
    async fn run(mut self) {
        let mut backoff = Backoff::new(MIN_BACKOFF, MAX_BACKOFF);
        let mut warned = false;
        loop {
            let started = Instant::now();
            let end = self.watch().await.err().unwrap_or(WatchEnd::Complete);
            if std::mem::take(&mut self.received) || started.elapsed() > MAX_BACKOFF {
                backoff.reset();
                warned = false;
            }
            match end {
                WatchEnd::Complete => {}
                WatchEnd::TooOld => {
                    tracing::info!(source = ?self.source, "watch is too old; listing again");
                    self.resource_version = None;
                }
                WatchEnd::StreamingUnsupported => {
                    tracing::info!(source = ?self.source, "list streaming unsupported; requesting lists");
                    self.streams_lists = false;
                    continue;
                }
                WatchEnd::ProtobufUnsupported => {
                    tracing::info!(source = ?self.source, "protobuf unsupported; watching with JSON");
                    self.decode = None;
                    continue;
                }
                WatchEnd::Failed(error) => {
                    if !std::mem::replace(&mut warned, true) {
                        tracing::warn!(source = ?self.source, error, "watch failed; retrying");
                    }
                }
            }
            backoff.wait().await;
        }
    }

    /// Watches until the watch ends.
    async fn watch(&mut self) -> Result<(), WatchEnd> {
        if self.resource_version.is_none() && !self.streams_lists {
            self.list().await?;
        }
        let params = WatchParams::default().timeout(WATCH_SECONDS);
        let params = match &self.selector {
            Selector::Labels(labels) => params.labels(labels),
            Selector::Fields(fields) => params.fields(fields),
        };
        // Without a version, the list is of the current objects, and not of those that some API server has
        // cached.
        let (params, from, mut listed) = match &self.resource_version {
            Some(version) => (params, version.clone(), None),
            None => (params.initial_events(), String::new(), Some(BTreeSet::new())),
        };
        let open = async {
            match self.decode {
                Some(decode) => watch_events::protobuf(&self.api, &params, &from, decode).await,
                None => watch_events::json(&self.api, &params, &from).await,
            }
        };
        let opened = timeout(RESPONSE_TIMEOUT, open).await;
        let events = opened.map_err(|_| no_response())?.map_err(|error| match error {
            kube::Error::Api(status) if listed.is_some() && matches!(status.code, 400 | 422) => {
                WatchEnd::StreamingUnsupported
            }
            kube::Error::Api(status) if self.decode.is_some() && status.code == 406 => {
                WatchEnd::ProtobufUnsupported
            }
            error => error.into(),
        });
        let mut events = events?;
        let max_silence = Duration::from_secs(WATCH_SECONDS.into()) + RESPONSE_TIMEOUT;
        while let Some(event) = timeout(max_silence, events.next()).await.map_err(|_| no_response())? {
            match event {
                Ok(WatchEvent::Error(status)) => return Err(kube::Error::Api(status).into()),
                Ok(event) => self.apply(event, &mut listed),
                Err(EventError::Unreadable(error)) => {
                    tracing::warn!(source = ?self.source, error, "watch event unreadable; skipping it");
                }
                Err(EventError::Failed(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Applies an event to the store. `listed` has the sessions of the list so far, while it is streamed.
    fn apply(&mut self, event: WatchEvent<K>, listed: &mut Option<BTreeSet<SessionHash>>) {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let meta = object.meta().clone();
                object.apply(self.store);
                match listed {
                    Some(listed) => listed.extend(session::hash_of(&meta)),
                    None => self.observed_version(&meta),
                }
            }
            WatchEvent::Deleted(object) => {
                object.delete(self.store);
                match listed {
                    Some(listed) => {
                        if let Some(hash) = session::hash_of(object.meta()) {
                            listed.remove(&hash);
                        }
                    }
                    None => self.observed_version(object.meta()),
                }
            }
            WatchEvent::Bookmark(bookmark) => {
                let ends_list = bookmark.metadata.annotations.contains_key(LIST_END);
                let version = bookmark.metadata.resource_version;
                match listed.take_if(|_| ends_list) {
                    Some(listed) => self.synced(&listed, version),
                    None if listed.is_none() => {
                        let meta = ObjectMeta { resource_version: Some(version), ..ObjectMeta::default() };
                        self.observed_version(&meta);
                    }
                    // The list is incomplete: if the watch fails now, the next one lists again.
                    None => {}
                }
            }
            // It has ended the watch.
            WatchEvent::Error(_) => {}
        }
    }

    /// Records that everything up to this object's version is known.
    fn observed_version(&mut self, meta: &ObjectMeta) {
        self.store.observed_version(self.source, version(meta));
        self.resource_version.clone_from(&meta.resource_version);
        self.received = true;
    }

    fn synced(&mut self, listed: &BTreeSet<SessionHash>, version: String) {
        self.store.synced(self.source, listed, version.parse().unwrap_or(0));
        self.resource_version = Some(version);
    }

    /// Requests a list, page by page.
    async fn list(&mut self) -> Result<(), WatchEnd> {
        let params = ListParams::default().limit(PAGE_SIZE);
        let mut params = match &self.selector {
            Selector::Labels(labels) => params.labels(labels),
            Selector::Fields(fields) => params.fields(fields),
        };
        let mut listed = BTreeSet::new();
        loop {
            let page = timeout(RESPONSE_TIMEOUT, self.api.list(&params)).await;
            let page = page.map_err(|_| no_response())??;
            for object in page.items {
                listed.extend(session::hash_of(object.meta()));
                object.apply(self.store);
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                let version = page.metadata.resource_version.filter(|version| !version.is_empty());
                let version = version.ok_or_else(|| WatchEnd::Failed("the list has no version".into()))?;
                self.synced(&listed, version);
                return Ok(());
            }
        }
    }
}

fn no_response() -> WatchEnd {
    WatchEnd::Failed("the API server does not answer".into())
}
