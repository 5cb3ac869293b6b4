//! What the API server tells of our objects, taken into the index.

use std::{collections::BTreeSet, fmt::Debug, pin::pin, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join4};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::{
    Api, Client, Resource,
    runtime::watcher::{self, Config, watcher},
};
use serde::de::DeserializeOwned;
use session_key::SessionHash;

use super::{
    drive::about,
    index::{Index, Source, version},
    manifest::MANAGED_BY,
    record,
};

/// After so many seconds a watch is begun anew where it was; a connection that died unseen is seen to be dead then.
const WATCH_SECONDS: u32 = 120;
/// Between two attempts, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// What is done with each object.
trait Taken: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static {
    fn apply(self, index: &Index);
    fn forget(&self, index: &Index);
}

impl Taken for PersistentVolumeClaim {
    fn apply(self, index: &Index) {
        index.apply_pvc(self);
    }
    fn forget(&self, index: &Index) {
        index.forget_pvc(self);
    }
}

impl Taken for Pod {
    fn apply(self, index: &Index) {
        index.apply_pod(self);
    }
    fn forget(&self, index: &Index) {
        index.forget_pod(self);
    }
}

impl Taken for Event {
    fn apply(self, index: &Index) {
        index.apply_event(self);
    }
    // An Event runs out after an hour; what it said was so all the same.
    fn forget(&self, _: &Index) {}
}

/// Watches for ever.
pub(super) async fn watch(client: Client, namespace: String, index: Arc<Index>) {
    let labels = format!("app.kubernetes.io/managed-by={MANAGED_BY}");
    let ours = Config::default().timeout(WATCH_SECONDS).labels(&labels).streaming_lists();
    // The API server keeps no cache of Events, from which lists are streamed best.
    let events =
        |kind: &str| Config::default().timeout(WATCH_SECONDS).fields(&format!("involvedObject.kind={kind}"));
    let api = |namespace: &str| Api::<Event>::namespaced(client.clone(), namespace);
    let pvcs = Api::<PersistentVolumeClaim>::namespaced(client.clone(), &namespace);
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace);
    join4(
        Box::pin(follow(pvcs, ours.clone(), Source::Pvcs, &index)),
        Box::pin(follow(pods, ours, Source::Pods, &index)),
        Box::pin(follow(api(&namespace), events("Pod"), Source::PodEvents, &index)),
        Box::pin(follow(api(&namespace), events("PersistentVolumeClaim"), Source::PvcEvents, &index)),
    )
    .await;
}

async fn follow<K: Taken>(api: Api<K>, mut config: Config, source: Source, index: &Index) {
    let mut pause = PAUSES[0];
    let mut warned = false;
    loop {
        let mut news = pin!(watcher(api.clone(), config.clone()));
        let mut listing = Listing::default();
        while let Some(next) = news.next().await {
            match next {
                Ok(event) => {
                    // That a list is begun is said before anything was asked.
                    if !matches!(event, watcher::Event::Init) {
                        (pause, warned) = (PAUSES[0], false);
                    }
                    listing.take(event, source, index);
                }
                // An API server that streams no lists.
                Err(watcher::Error::WatchStartFailed(kube::Error::Api(status)))
                    if config != plain(&config) && matches!(status.code, 400 | 422) =>
                {
                    tracing::info!("the API server streams no lists; they are asked for");
                    config = plain(&config);
                    break;
                }
                Err(error) => {
                    if !std::mem::replace(&mut warned, true) {
                        tracing::warn!(?source, %error, "a watch was lost; what is known goes on being served");
                    }
                    tokio::time::sleep(about(pause)).await;
                    pause = (pause * 2).min(PAUSES[1]);
                }
            }
        }
    }
}

fn plain(config: &Config) -> Config {
    Config { initial_list_strategy: watcher::InitialListStrategy::ListWatch, ..config.clone() }
}

/// The list under way.
#[derive(Default)]
struct Listing {
    there: BTreeSet<SessionHash>,
    newest: u64,
}

impl Listing {
    fn take<K: Taken>(&mut self, event: watcher::Event<K>, source: Source, index: &Index) {
        match event {
            watcher::Event::Init => *self = Self::default(),
            watcher::Event::InitApply(object) => {
                self.there.extend(record::hash_of(object.meta()));
                self.newest = self.newest.max(version(object.meta()));
                object.apply(index);
            }
            watcher::Event::InitDone => index.listed(source, &std::mem::take(&mut self.there), self.newest),
            watcher::Event::Apply(object) => object.apply(index),
            watcher::Event::Delete(object) => object.forget(index),
        }
    }
}
