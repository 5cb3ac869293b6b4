//! The parts of a cluster that an API server alone does not have: scheduler, kubelet, garbage collector and
//! the controller that protects claims in use. The "containers" are fake opencodes on loopback addresses.

mod kubelet;
mod pod_status;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::watcher::{self, watcher},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use session_key::SessionHash;
use tokio::{sync::Notify, task::JoinHandle, time::sleep};

use crate::opencode::fake::FakeOpencode;

pub use self::pod_status::{now, pod_status};

// Not the constant of the backend: the cluster's side of an interface is written down a second time here.
const HASH_LABEL: &str = "opencode.ai/session-hash";

/// Runs the Pods of one namespace until it is dropped.
pub struct SimulatedNode {
    client: Client,
    namespace: String,
    containers: Mutex<Containers>,
    /// Something changed, so that the objects are to be looked at again.
    wake: Notify,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// The containers that run, and how they are to behave.
#[derive(Default)]
struct Containers {
    /// By the Pod's UID.
    running: HashMap<String, (SessionHash, Arc<FakeOpencode>)>,
    /// Sessions whose clone fails.
    failing: HashSet<SessionHash>,
    /// Sessions whose opencode answers everything with a status, from its start on.
    refusing: HashMap<SessionHash, u16>,
    /// The title of the conversation that each opencode starts with.
    title: Option<String>,
    /// Whether each opencode offers an event stream.
    events: bool,
    /// The most processes that a session ever had at once.
    most: BTreeMap<SessionHash, usize>,
    /// How long a container takes to terminate.
    grace_period: Duration,
}

impl Containers {
    fn count(&self, hash: SessionHash) -> usize {
        self.running.values().filter(|(of, _)| *of == hash).count()
    }
}

impl SimulatedNode {
    /// Starts to run the namespace's Pods.
    #[must_use]
    pub fn start(client: Client, namespace: &str) -> Arc<Self> {
        let containers = Containers { grace_period: Duration::from_millis(20), ..Containers::default() };
        let node = Arc::new(Self {
            client,
            namespace: namespace.to_owned(),
            containers: Mutex::new(containers),
            wake: Notify::new(),
            tasks: Mutex::default(),
        });
        let task = tokio::spawn(Arc::clone(&node).run());
        node.tasks.lock().push(task);
        node
    }

    /// Sets whether the session's clones fail from now on.
    pub fn fail_clones(&self, hash: SessionHash, fail: bool) {
        let mut containers = self.containers.lock();
        match fail {
            true => containers.failing.insert(hash),
            false => containers.failing.remove(&hash),
        };
    }

    /// Sets the status with which the session's opencodes answer everything from their start on.
    pub fn refuse_all(&self, hash: SessionHash, status: Option<u16>) {
        let mut containers = self.containers.lock();
        match status {
            Some(status) => containers.refusing.insert(hash, status),
            None => containers.refusing.remove(&hash),
        };
    }

    /// Lets each opencode start with a conversation of this title.
    pub fn start_with_conversation(&self, title: &str) {
        self.containers.lock().title = Some(title.to_owned());
    }

    /// Lets each opencode offer an event stream from its start on.
    pub fn enable_events(&self) {
        self.containers.lock().events = true;
    }

    /// Sets how long a container takes to terminate from now on.
    pub fn set_grace_period(&self, grace_period: Duration) {
        self.containers.lock().grace_period = grace_period;
    }

    /// Returns the session's opencode, once it runs.
    pub async fn opencode(&self, hash: SessionHash) -> Arc<FakeOpencode> {
        loop {
            let running = {
                let containers = self.containers.lock();
                containers.running.values().find(|(of, _)| *of == hash).map(|(_, opencode)| opencode.clone())
            };
            match running {
                Some(opencode) => return opencode,
                None => sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Returns how many prompts were sent to the opencodes that run.
    #[must_use]
    pub fn prompts(&self) -> usize {
        self.containers.lock().running.values().map(|(_, opencode)| opencode.prompts()).sum()
    }

    /// Returns how many processes the session has.
    #[must_use]
    pub fn process_count(&self, hash: SessionHash) -> usize {
        self.containers.lock().count(hash)
    }

    /// Returns the most processes that the session ever had at once.
    #[must_use]
    pub fn max_process_count(&self, hash: SessionHash) -> usize {
        self.containers.lock().most.get(&hash).copied().unwrap_or(0)
    }

    /// Returns the API of the namespace's Pods.
    #[must_use]
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Returns the API of the namespace's claims.
    #[must_use]
    pub fn pvcs(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Returns the API of the namespace's Secrets.
    #[must_use]
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Writes a Pod's status, as kubelet does; see [`pod_status`]. A Pod that is gone is no error.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn set_status(&self, pod: &Pod, status: &Value) -> Result<(), kube::Error> {
        let patch = json!({ "metadata": { "uid": pod.uid() }, "status": status });
        ignore_missing(
            self.pods().patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await,
        )
    }

    async fn run(self: Arc<Self>) {
        let pods = watcher(self.pods(), watcher::Config::default()).map(|event| event.is_ok());
        let pvcs = watcher(self.pvcs(), watcher::Config::default()).map(|event| event.is_ok());
        let mut events = std::pin::pin!(futures_util::stream::select(pods, pvcs));
        loop {
            tokio::select! {
                event = events.next() => {
                    if event != Some(true) {
                        sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                }
                () = self.wake.notified() => {}
            }
            // However many events there are, the objects are looked at once.
            while let Some(Some(true)) = events.next().now_or_never() {}
            // Level-triggered, as the real ones are; a failure is tried again.
            if self.reconcile().await.is_err() {
                sleep(Duration::from_millis(20)).await;
                self.wake.notify_one();
            }
        }
    }

    async fn reconcile(self: &Arc<Self>) -> Result<(), kube::Error> {
        let pods = self.pods().list(&ListParams::default()).await?;
        let mut result = Ok(());
        for pod in &pods {
            result = result.and(self.reconcile_pod(pod).await);
        }
        result?;
        let pvcs = self.pvcs().list(&ListParams::default()).await?;
        for pvc in &pvcs {
            let in_use = pods.iter().any(|pod| pod.labels().get(HASH_LABEL) == pvc.labels().get(HASH_LABEL));
            if pvc.metadata.deletion_timestamp.is_some() && !in_use {
                let patch = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
                ignore_missing(self.pvcs().patch(&pvc.name_any(), &PatchParams::default(), &patch).await)?;
                self.wake.notify_one();
            }
        }
        let uids: HashSet<_> = pvcs.iter().filter_map(ResourceExt::uid).collect();
        self.collect_garbage(&uids).await
    }

    /// Deletes Secrets whose claims are gone.
    async fn collect_garbage(&self, pvc_uids: &HashSet<String>) -> Result<(), kube::Error> {
        let is_orphan = |meta: &ObjectMeta| {
            let owners = meta.owner_references.as_deref().unwrap_or_default();
            !owners.is_empty() && owners.iter().all(|owner| !pvc_uids.contains(&owner.uid))
        };
        for secret in self.secrets().list(&ListParams::default()).await? {
            if is_orphan(&secret.metadata) {
                let owner = &secret.owner_references()[0].uid;
                // The claim may have been created after the claims were listed.
                let pvcs = self.pvcs().list(&ListParams::default()).await?;
                if pvcs.iter().any(|pvc| pvc.uid().as_ref() == Some(owner)) {
                    continue;
                }
                let uid = Preconditions { uid: secret.uid(), resource_version: None };
                let params = DeleteParams::default().preconditions(uid);
                let _ = self.secrets().delete(&secret.name_any(), &params).await;
            }
        }
        Ok(())
    }

    /// Schedules the Pod.
    async fn bind(&self, pod: &Pod) -> Result<(), kube::Error> {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": { "name": pod.name_any(), "uid": pod.uid() },
            "target": { "apiVersion": "v1", "kind": "Node", "name": "simulated" },
        });
        let result = self
            .pods()
            .create_subresource::<_, Value>("binding", &pod.name_any(), &PostParams::default(), &binding)
            .await;
        self.wake.notify_one();
        // It was deleted, or is bound already.
        ignore_missing(result)
    }
}

impl Drop for SimulatedNode {
    fn drop(&mut self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }
}

fn ignore_missing<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        result => result.map(drop),
    }
}
