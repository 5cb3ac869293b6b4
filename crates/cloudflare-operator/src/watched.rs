//! All objects of one kind, kept up to date by kube's watcher.
//!
//! kube's watcher repeats a watch that is refused as too old forever; here a new one starts with a list. And
//! answers to the operator's own writes are recorded at once, so that the next pass sees what this one did.

use std::{collections::BTreeMap, fmt::Debug, pin::pin, sync::Arc, time::Duration};

use futures_util::StreamExt;
use kube::{
    Api, Resource, ResourceExt,
    runtime::watcher::{self, Config, Event, watcher},
};
use parking_lot::Mutex;
use pod_manager::backoff::Backoff;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// The pauses between two watches that fail.
const MIN_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(15);
/// After how many seconds a watch is renewed; a broken connection is noticed then at the latest.
const WATCH_SECONDS: u32 = 120;

/// All objects of one kind.
#[derive(Debug)]
pub struct Watched<K> {
    state: Mutex<State<K>>,
    /// Counts the changes that matter.
    changes: watch::Sender<u64>,
    /// Returns whether a change of an object matters.
    matters: fn(&K, &K) -> bool,
}

#[derive(Debug)]
struct State<K> {
    objects: BTreeMap<String, Arc<K>>,
    /// The objects of a list that is not complete.
    listed: Option<BTreeMap<String, Arc<K>>>,
    synced: bool,
    /// Why the last watch failed, until one succeeds.
    error: Option<String>,
}

impl<K: Resource + Clone + DeserializeOwned + Debug + Send + 'static> Watched<K> {
    /// Creates an empty store. A change wakes somebody only if it `matters`: `matters(old, new)`.
    #[must_use]
    pub fn new(matters: fn(&K, &K) -> bool) -> Self {
        let state = State { objects: BTreeMap::new(), listed: None, synced: false, error: None };
        Self { state: Mutex::new(state), changes: watch::Sender::new(0), matters }
    }

    /// Watches forever.
    pub async fn run(&self, api: Api<K>, selector: Option<String>) {
        let config = Config { label_selector: selector, ..Config::default() }.timeout(WATCH_SECONDS);
        let mut backoff = Backoff::new(MIN_BACKOFF, MAX_BACKOFF);
        loop {
            let mut events = pin!(watcher(api.clone(), config.clone()));
            while let Some(event) = events.next().await {
                let error = match event {
                    Ok(event) => {
                        backoff.reset();
                        self.handle(event);
                        continue;
                    }
                    Err(error) => error,
                };
                self.fail(describe(&error));
                backoff.wait().await;
                if is_too_old(&error) {
                    break;
                }
            }
        }
    }

    /// Returns all objects by name, or `None` before the first list.
    #[must_use]
    pub fn objects(&self) -> Option<BTreeMap<String, Arc<K>>> {
        let state = self.state.lock();
        state.synced.then(|| state.objects.clone())
    }

    /// Returns why the last watch failed, if none succeeded since.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.state.lock().error.clone()
    }

    /// Returns a receiver that is notified of every change that matters.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Waits for the first list.
    pub async fn wait_synced(&self) {
        let mut changes = self.changes.subscribe();
        while !self.state.lock().synced {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Records an object that the API server returned to a write. It wakes nobody.
    pub fn record(&self, object: K) {
        let (name, mut state) = (object.name_any(), self.state.lock());
        if state.objects.get(&name).is_none_or(|known| is_newer(&object, known)) {
            state.objects.insert(name, Arc::new(object));
        }
    }

    /// Records that this object was deleted. It wakes nobody.
    pub fn record_deleted(&self, name: &str, uid: Option<&str>) {
        let mut state = self.state.lock();
        if state.objects.get(name).is_some_and(|known| known.meta().uid.as_deref() == uid) {
            state.objects.remove(name);
        }
    }

    fn handle(&self, event: Event<K>) {
        let mut state = self.state.lock();
        let matters = match event {
            Event::Init => {
                state.listed = Some(BTreeMap::new());
                false
            }
            Event::InitApply(object) => {
                if let Some(listed) = &mut state.listed {
                    listed.insert(object.name_any(), Arc::new(object));
                }
                false
            }
            Event::InitDone => {
                state.objects = state.listed.take().unwrap_or_default();
                state.synced = true;
                true
            }
            Event::Apply(object) => {
                let name = object.name_any();
                let known = state.objects.get(&name);
                let is_news = known.is_none_or(|known| is_newer(&object, known));
                let matters = is_news && known.is_none_or(|known| (self.matters)(known, &object));
                if is_news {
                    state.objects.insert(name, Arc::new(object));
                }
                matters
            }
            Event::Delete(object) => {
                let name = object.name_any();
                let is_known =
                    state.objects.get(&name).is_some_and(|known| known.meta().uid == object.meta().uid);
                if is_known {
                    state.objects.remove(&name);
                }
                is_known
            }
        };
        state.error = None;
        drop(state);
        if matters {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    fn fail(&self, error: String) {
        let mut state = self.state.lock();
        if state.error.is_none() {
            tracing::warn!(error, "watch failed; retrying");
        }
        state.error = Some(error);
    }
}

/// Returns whether an object is newer than the known one: the API server orders the versions of a kind.
fn is_newer<K: Resource>(object: &K, known: &K) -> bool {
    let version = |object: &K| object.meta().resource_version.as_ref()?.parse::<u128>().ok();
    version(object) > version(known)
}

fn is_too_old(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 410,
        _ => false,
    }
}

/// Returns an error with its causes.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |mut text, cause| {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        text
    })
}
