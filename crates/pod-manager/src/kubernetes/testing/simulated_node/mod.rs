//! The parts of a cluster that an API server alone does not have: scheduler, kubelet, garbage collector and
//! the controller that protects claims in use. The "containers" are fake opencodes on loopback addresses.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
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

use crate::{
    clock::{Clock, SystemClock},
    model::Password,
    opencode::fake::FakeOpencode,
};

// Not the constants of the backend: the cluster's side of an interface is written down a second time here.
const PORT: u16 = 4096;
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

    async fn reconcile_pod(self: &Arc<Self>, pod: &Pod) -> Result<(), kube::Error> {
        let uid = pod.uid().unwrap_or_default();
        let label = pod.labels().get(HASH_LABEL);
        let Some(hash) = label.and_then(|hash| SessionHash::parse(hash).ok()) else { return Ok(()) };
        if pod.metadata.deletion_timestamp.is_some() {
            self.terminate(pod, &uid);
            return Ok(());
        }
        let fails = self.containers.lock().failing.contains(&hash);
        if pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()) {
            return self.bind(pod).await;
        }
        let status = pod.status.as_ref();
        let has_init = pod.spec.as_ref().is_some_and(|spec| spec.init_containers.is_some());
        if has_init && status.is_none_or(|status| status.init_container_statuses.is_none()) {
            let states = json!({ "init": { "running": { "startedAt": now() } } });
            return self.set_status(pod, &pod_status(&states)).await;
        }
        if status.is_some_and(|status| status.container_statuses.is_some()) {
            return Ok(());
        }
        let terminated = |exit_code: i32, reason: &str| json!({ "terminated": { "exitCode": exit_code, "reason": reason, "startedAt": now(), "finishedAt": now() } });
        let states = if fails && !has_init {
            let mut ended = terminated(128, "Error");
            ended["terminated"]["message"] = "opencode-router: preparing the repository\n".into();
            json!({ "opencode": ended })
        } else if fails {
            let waiting = json!({ "waiting": { "reason": "PodInitializing" } });
            json!({ "init": terminated(128, "Error"), "opencode": waiting })
        } else {
            let password = self.password(hash).await?;
            let ip = self.start_container(&uid, hash, password).await;
            let running = json!({ "running": { "startedAt": now() } });
            match has_init {
                true => json!({ "init": terminated(0, "Completed"), "opencode": running, "ip": ip }),
                false => json!({ "opencode": running, "ip": ip }),
            }
        };
        self.set_status(pod, &pod_status(&states)).await
    }

    /// Returns the password that the Pod's environment has.
    async fn password(&self, hash: SessionHash) -> Result<Option<Password>, kube::Error> {
        let secret = self.secrets().get_opt(&format!("opencode-server-{hash}")).await?;
        let bytes = secret.and_then(|secret| secret.data?.remove("OPENCODE_SERVER_PASSWORD"));
        Ok(bytes.map(|bytes| Password::new(String::from_utf8(bytes.0).expect("text"))))
    }

    async fn start_container(&self, uid: &str, hash: SessionHash, password: Option<Password>) -> IpAddr {
        if let Some((_, opencode)) = self.containers.lock().running.get(uid) {
            return opencode.address().ip();
        }
        let address = SocketAddr::new(IpAddr::V4(random_loopback_address()), PORT);
        let opencode = Arc::new(FakeOpencode::start_at(address, password).await);
        let mut containers = self.containers.lock();
        opencode.refuse_all(containers.refusing.get(&hash).copied());
        if let Some(title) = &containers.title {
            opencode.create_conversation(title);
        }
        if containers.events {
            opencode.enable_events();
        }
        containers.running.insert(uid.to_owned(), (hash, opencode));
        let count = containers.count(hash);
        let most = containers.most.entry(hash).or_default();
        *most = count.max(*most);
        address.ip()
    }

    fn terminate(self: &Arc<Self>, pod: &Pod, uid: &str) {
        let (node, name, uid) = (self.clone(), pod.name_any(), uid.to_owned());
        let grace_period = self.containers.lock().grace_period;
        let task = tokio::spawn(async move {
            sleep(grace_period).await;
            drop(node.containers.lock().running.remove(&uid));
            let params = DeleteParams::default()
                .grace_period(0)
                .preconditions(Preconditions { uid: Some(uid), resource_version: None });
            while let Err(kube::Error::Service(_) | kube::Error::HyperError(_)) =
                node.pods().delete(&name, &params).await
            {
                sleep(Duration::from_millis(50)).await;
            }
            node.wake.notify_one();
        });
        self.tasks.lock().push(task);
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

/// Returns a Pod's status. `states` may have the states of the containers `init` and `opencode`, the latter's
/// count of `restarts`, and the Pod's `ip`.
#[must_use]
pub fn pod_status(states: &Value) -> Value {
    let container = |name: &str, state: &Value| {
        json!([{
            "name": name, "image": "registry.example/session:1", "imageID": "", "ready": state.get("running").is_some(),
            "restartCount": states["restarts"].as_u64().unwrap_or(0), "state": state,
        }])
    };
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": now() });
    let mut status = json!({
        "phase": if states.get("ip").is_some() { "Running" } else { "Pending" },
        "conditions": [condition("PodScheduled"), condition("PodReadyToStartContainers")],
    });
    if let Some(state) = states.get("init") {
        status["initContainerStatuses"] = container("git-init", state);
    }
    if let Some(state) = states.get("opencode") {
        status["containerStatuses"] = container("opencode", state);
    }
    if let Some(ip) = states.get("ip") {
        status["podIP"] = ip.clone();
        status["podIPs"] = json!([{ "ip": ip }]);
    }
    status
}

/// Returns the present time as kubelet writes it: in whole seconds.
///
/// # Panics
/// If the machine's clock is outside of the years that can be written.
#[must_use]
pub fn now() -> String {
    let now = jiff::Timestamp::try_from(SystemClock.now()).expect("a time");
    jiff::Timestamp::from_second(now.as_second()).expect("a time").to_string()
}

fn random_loopback_address() -> Ipv4Addr {
    let [a, b, c]: [u8; 3] = rand::random();
    Ipv4Addr::new(127, a.clamp(1, 254), b, c.clamp(1, 254))
}

fn ignore_missing<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        result => result.map(drop),
    }
}
