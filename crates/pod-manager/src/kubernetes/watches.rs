//! What the API server tells of our objects, taken into the index.

use std::sync::Arc;

use futures_util::future::join4;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::{Api, Client};

use super::{
    follow::{Follower, Taken, Which},
    index::{Index, Source},
    manifest::MANAGED_BY,
};

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
    let ours = || Which::Labels(format!("app.kubernetes.io/managed-by={MANAGED_BY}"));
    let about = |kind: &str| Which::Fields(format!("involvedObject.kind={kind}"));
    let pvcs = Api::<PersistentVolumeClaim>::namespaced(client.clone(), &namespace);
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace);
    let events = Api::<Event>::namespaced(client, &namespace);
    // The API server keeps no cache of Events, from which lists are streamed best.
    join4(
        Box::pin(Follower::new(pvcs, ours(), Source::Pvcs, &index, true).follow()),
        Box::pin(Follower::new(pods, ours(), Source::Pods, &index, true).follow()),
        Box::pin(Follower::new(events.clone(), about("Pod"), Source::PodEvents, &index, false).follow()),
        Box::pin(
            Follower::new(events, about("PersistentVolumeClaim"), Source::PvcEvents, &index, false).follow(),
        ),
    )
    .await;
}
