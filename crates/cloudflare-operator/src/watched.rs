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
use pod_manager::{backoff::Backoff, kubernetes::connect::with_causes};
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
                self.fail(with_causes(&error));
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
    pub fn record(&self, mut object: K) {
        trim(&mut object);
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

    pub(crate) fn handle(&self, event: Event<K>) {
        let mut state = self.state.lock();
        let matters = match event {
            Event::Init => {
                state.listed = Some(BTreeMap::new());
                false
            }
            Event::InitApply(mut object) => {
                trim(&mut object);
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
            Event::Apply(mut object) => {
                trim(&mut object);
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

/// Drops what nobody reads and what takes the most memory. Who owns fields is kept, but not which.
fn trim<K: Resource>(object: &mut K) {
    let meta = object.meta_mut();
    meta.annotations = None;
    meta.managed_fields.iter_mut().flatten().for_each(|entry| entry.fields_v1 = None);
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

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};

    use super::*;

    fn object(name: &str, version: u64, uid: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.into()),
                resource_version: Some(version.to_string()),
                uid: Some(uid.into()),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        }
    }

    fn listed(objects: &[ConfigMap]) -> Watched<ConfigMap> {
        let watched = Watched::<ConfigMap>::new(|old, new| old.metadata.labels != new.metadata.labels);
        list(&watched, objects);
        watched
    }

    fn list(watched: &Watched<ConfigMap>, objects: &[ConfigMap]) {
        watched.handle(Event::Init);
        objects.iter().for_each(|object| watched.handle(Event::InitApply(object.clone())));
        watched.handle(Event::InitDone);
    }

    fn versions(watched: &Watched<ConfigMap>) -> Vec<String> {
        let objects = watched.objects().expect("a list");
        objects
            .values()
            .map(|object| format!("{}@{}", object.name_any(), object.resource_version().unwrap()))
            .collect()
    }

    #[test]
    fn nothing_is_known_before_the_first_list_is_complete() {
        let watched = Watched::<ConfigMap>::new(|_, _| true);
        watched.handle(Event::Init);
        watched.handle(Event::InitApply(object("a", 1, "u")));
        assert!(watched.objects().is_none());
        watched.handle(Event::InitDone);
        assert_eq!(versions(&watched), ["a@1"]);
        // A new list replaces the old one only when it is complete.
        watched.handle(Event::Init);
        assert_eq!(versions(&watched), ["a@1"]);
        watched.handle(Event::InitDone);
        assert_eq!(versions(&watched), Vec::<String>::new());
    }

    #[test]
    fn an_answer_to_a_write_is_newer_than_a_late_event() {
        let watched = listed(&[object("a", 5, "u")]);
        watched.record(object("a", 9, "u"));
        watched.handle(Event::Apply(object("a", 7, "u")));
        assert_eq!(versions(&watched), ["a@9"]);
        watched.handle(Event::Apply(object("a", 10, "u")));
        assert_eq!(versions(&watched), ["a@10"]);
        watched.record(object("b", 11, "v"));
        assert_eq!(versions(&watched), ["a@10", "b@11"]);
    }

    #[test]
    fn a_deletion_is_of_one_object_and_not_of_its_successor() {
        let watched = listed(&[object("a", 5, "new")]);
        watched.record_deleted("a", Some("old"));
        watched.handle(Event::Delete(object("a", 4, "old")));
        assert_eq!(versions(&watched), ["a@5"]);
        watched.record_deleted("a", Some("new"));
        assert_eq!(versions(&watched), Vec::<String>::new());
    }

    #[test]
    fn only_changes_that_matter_wake() {
        let watched = listed(&[object("a", 5, "u")]);
        let mut changes = watched.subscribe();
        let mut woke = || {
            let has_changed = changes.has_changed().expect("a sender");
            changes.mark_unchanged();
            has_changed
        };
        watched.handle(Event::Apply(object("a", 6, "u")));
        assert!(!woke(), "nothing that matters has changed");
        let mut labelled = object("a", 7, "u");
        labelled.metadata.labels = Some([("x".to_owned(), "y".to_owned())].into());
        watched.record(labelled.clone());
        watched.handle(Event::Apply(labelled));
        assert!(!woke(), "it is our own write");
        watched.handle(Event::Apply(object("b", 8, "v")));
        assert!(woke(), "a new object");
        watched.handle(Event::Delete(object("b", 9, "v")));
        assert!(woke(), "a deletion");
        watched.record_deleted("a", Some("u"));
        watched.handle(Event::Delete(object("a", 10, "u")));
        assert!(!woke(), "our own deletion");
        list(&watched, &[]);
        assert!(woke(), "a new list may differ in anything");
    }

    #[test]
    fn a_watch_that_is_too_old_begins_again_with_a_list() {
        let error = |code| {
            let status = kube::core::Status { code, ..kube::core::Status::default() };
            watcher::Error::WatchStartFailed(kube::Error::Api(status.boxed()))
        };
        assert!(is_too_old(&error(410)));
        assert!(!is_too_old(&error(403)));
    }
}
