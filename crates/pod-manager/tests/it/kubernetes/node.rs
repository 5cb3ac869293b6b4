//! Plays the parts of a cluster that an API server alone does not have: scheduler, kubelet, the garbage collector and the
//! controller that keeps claims in use. Its "containers" are fake opencodes on loopback addresses.

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
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::watcher::{self, Event, watcher},
};
use parking_lot::Mutex;
use pod_manager::{Password, memory::FakeOpencode};
use serde_json::{Value, json};
use session_key::SessionHash;
use tokio::{sync::Notify, task::JoinHandle, time::sleep};

const PORT: u16 = 4096;

/// What runs there, and how it is to behave.
pub(crate) struct Node {
    client: Client,
    namespace: String,
    state: Mutex<State>,
    /// Something changed that is to be looked at.
    wake: Notify,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    /// By the Pod's UID.
    running: HashMap<String, (SessionHash, Arc<FakeOpencode>)>,
    /// Whose clone fails.
    failing: HashSet<SessionHash>,
    /// Whose opencode answers everything with a status, from its start on.
    refusing: HashMap<SessionHash, u16>,
    /// The most processes that one session ever had at once.
    most: BTreeMap<SessionHash, usize>,
    /// How long an end takes.
    grace: Duration,
}

impl Node {
    pub(crate) fn start(client: Client, namespace: &str) -> Arc<Self> {
        let state = State { grace: Duration::from_millis(20), ..State::default() };
        let node = Arc::new(Self {
            client,
            namespace: namespace.to_owned(),
            state: Mutex::new(state),
            wake: Notify::new(),
            tasks: Mutex::default(),
        });
        let work = node.clone();
        let pods = tokio::spawn(async move { work.work().await });
        node.tasks.lock().push(pods);
        node
    }

    /// The session's clones fail from now on, or do not.
    pub(crate) fn fail(&self, hash: SessionHash, fail: bool) {
        let mut state = self.state.lock();
        match fail {
            true => state.failing.insert(hash),
            false => state.failing.remove(&hash),
        };
    }

    /// The session's opencodes answer everything with that status from their start on.
    pub(crate) fn refuse(&self, hash: SessionHash, status: Option<u16>) {
        let mut state = self.state.lock();
        match status {
            Some(status) => state.refusing.insert(hash, status),
            None => state.refusing.remove(&hash),
        };
    }

    /// The session's opencode, once it runs.
    pub(crate) async fn opencode(&self, hash: SessionHash) -> Arc<FakeOpencode> {
        loop {
            let there =
                self.state.lock().running.values().find(|(of, _)| *of == hash).map(|(_, it)| it.clone());
            match there {
                Some(opencode) => return opencode,
                None => sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// How long an end takes from now on.
    pub(crate) fn set_grace(&self, grace: Duration) {
        self.state.lock().grace = grace;
    }

    pub(crate) fn processes(&self, hash: SessionHash) -> usize {
        self.state.lock().running.values().filter(|(of, _)| *of == hash).count()
    }

    /// The most that ever ran of it at once.
    pub(crate) fn most(&self, hash: SessionHash) -> usize {
        self.state.lock().most.get(&hash).copied().unwrap_or(0)
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn pvcs(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn work(self: Arc<Self>) {
        let pods = watcher(self.pods(), watcher::Config::default()).map(|news| news.map(names));
        let pvcs = watcher(self.pvcs(), watcher::Config::default()).map(|news| news.map(names));
        let mut news = std::pin::pin!(futures_util::stream::select(pods, pvcs));
        loop {
            tokio::select! {
                one = news.next() => {
                    if !matches!(one, Some(Ok(_))) {
                        sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                }
                () = self.wake.notified() => {}
            }
            // However much is new, it is looked at once.
            while let Some(Some(Ok(_))) = news.next().now_or_never() {}
            // Level-triggered, as the real ones are; failures are tried again with the next news.
            if self.look().await.is_err() {
                sleep(Duration::from_millis(20)).await;
                self.wake.notify_one();
            }
        }
    }

    async fn look(self: &Arc<Self>) -> Result<(), kube::Error> {
        let pods = self.pods().list(&ListParams::default()).await?;
        let mut tended = Ok(());
        for pod in &pods {
            tended = tended.and(self.tend(pod).await);
        }
        tended?;
        let pvcs = self.pvcs().list(&ListParams::default()).await?;
        for pvc in &pvcs {
            let in_use = pods.iter().any(|pod| {
                pod.labels().get("opencode.ai/session-hash") == pvc.labels().get("opencode.ai/session-hash")
            });
            if pvc.meta().deletion_timestamp.is_some() && !in_use {
                let free = json!({ "metadata": { "finalizers": null } });
                ignore_missing(
                    self.pvcs().patch(&pvc.name_any(), &PatchParams::default(), &Patch::Merge(free)).await,
                )?;
                self.wake.notify_one();
            }
        }
        let there: HashSet<_> = pvcs.iter().filter_map(ResourceExt::uid).collect();
        self.collect_garbage(&there).await
    }

    async fn collect_garbage(&self, there: &HashSet<String>) -> Result<(), kube::Error> {
        let is_orphan = |meta: &ObjectMeta| {
            let owners = meta.owner_references.as_deref().unwrap_or_default();
            !owners.is_empty() && owners.iter().all(|owner| !there.contains(&owner.uid))
        };
        for secret in self.secrets().list(&ListParams::default()).await? {
            if is_orphan(&secret.metadata) {
                let owner = &secret.owner_references()[0].uid;
                // Made since the claims were listed?
                let claims = self.pvcs().list(&ListParams::default()).await?;
                if claims.iter().any(|pvc| pvc.uid().as_ref() == Some(owner)) {
                    continue;
                }
                let uid = kube::api::Preconditions { uid: secret.uid(), resource_version: None };
                let params = DeleteParams::default().preconditions(uid);
                let _ = self.secrets().delete(&secret.name_any(), &params).await;
            }
        }
        Ok(())
    }

    async fn tend(self: &Arc<Self>, pod: &Pod) -> Result<(), kube::Error> {
        let uid = pod.uid().unwrap_or_default();
        let Some(hash) =
            pod.labels().get("opencode.ai/session-hash").and_then(|hash| SessionHash::parse(hash).ok())
        else {
            return Ok(());
        };
        if pod.meta().deletion_timestamp.is_some() {
            self.end(pod, &uid);
            return Ok(());
        }
        let failing = self.state.lock().failing.contains(&hash);
        if pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()) {
            return self.bind(pod).await;
        }
        let said = pod.status.as_ref().and_then(|status| status.init_container_statuses.as_ref());
        if said.is_none() {
            return self.say(pod, &json!({ "init": { "running": { "startedAt": now() } } })).await;
        }
        let serves = pod.status.as_ref().is_some_and(|status| status.container_statuses.is_some());
        if failing {
            if !serves {
                let end = json!({ "terminated": { "exitCode": 128, "reason": "Error", "startedAt": now(), "finishedAt": now() } });
                self.say(
                    pod,
                    &json!({ "init": end, "opencode": { "waiting": { "reason": "PodInitializing" } } }),
                )
                .await?;
            }
            return Ok(());
        }
        if !serves {
            let password = self.password(hash).await?;
            let address = self.run(&uid, hash, password).await;
            let done = json!({ "terminated": { "exitCode": 0, "reason": "Completed", "startedAt": now(), "finishedAt": now() } });
            let serving = json!({ "running": { "startedAt": now() } });
            self.say(pod, &json!({ "init": done, "opencode": serving, "ip": address })).await?;
        }
        Ok(())
    }

    /// What the Pod's environment would hold.
    async fn password(&self, hash: SessionHash) -> Result<Option<Password>, kube::Error> {
        let secret = self.secrets().get_opt(&format!("opencode-server-{hash}")).await?;
        let bytes = secret.and_then(|secret| secret.data?.remove("OPENCODE_SERVER_PASSWORD"));
        Ok(bytes.map(|bytes| Password::new(String::from_utf8(bytes.0).expect("text"))))
    }

    async fn run(&self, uid: &str, hash: SessionHash, password: Option<Password>) -> IpAddr {
        if let Some((_, there)) = self.state.lock().running.get(uid) {
            return there.address().ip();
        }
        let [a, b, c] = rand_address();
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, a, b, c)), PORT);
        let opencode = Arc::new(FakeOpencode::start_at(address, password).await);
        let mut state = self.state.lock();
        opencode.refuse_all(state.refusing.get(&hash).copied());
        state.running.insert(uid.to_owned(), (hash, opencode));
        let count = state.running.values().filter(|(of, _)| *of == hash).count();
        let most = state.most.entry(hash).or_default();
        *most = count.max(*most);
        address.ip()
    }

    fn end(self: &Arc<Self>, pod: &Pod, uid: &str) {
        let (node, name, uid) = (self.clone(), pod.name_any(), uid.to_owned());
        let grace = self.state.lock().grace;
        let task = tokio::spawn(async move {
            sleep(grace).await;
            drop(node.state.lock().running.remove(&uid));
            let params = DeleteParams::default()
                .grace_period(0)
                .preconditions(kube::api::Preconditions { uid: Some(uid), resource_version: None });
            while let Err(kube::Error::Service(_) | kube::Error::HyperError(_)) =
                node.pods().delete(&name, &params).await
            {
                sleep(Duration::from_millis(50)).await;
            }
            node.wake.notify_one();
        });
        self.tasks.lock().push(task);
    }

    async fn bind(&self, pod: &Pod) -> Result<(), kube::Error> {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": { "name": pod.name_any(), "uid": pod.uid() },
            "target": { "apiVersion": "v1", "kind": "Node", "name": "played" },
        });
        let bound = self
            .pods()
            .create_subresource::<_, Value>("binding", &pod.name_any(), &PostParams::default(), &binding)
            .await;
        self.wake.notify_one();
        match bound {
            // Somebody deleted it, or it is bound already.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
            done => done.map(drop),
        }
    }

    /// Writes the Pod's status as kubelet would.
    async fn say(&self, pod: &Pod, what: &Value) -> Result<(), kube::Error> {
        self.set_status(pod, &status(what)).await
    }

    pub(crate) async fn set_status(&self, pod: &Pod, status: &Value) -> Result<(), kube::Error> {
        let patch = json!({ "metadata": { "uid": pod.uid() }, "status": status });
        ignore_missing(
            self.pods().patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await,
        )
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }
}

/// A status with these states of its two containers.
pub(crate) fn status(what: &Value) -> Value {
    let container = |name: &str, state: &Value| {
        json!([{
            "name": name, "image": "registry.example/session:1", "imageID": "", "ready": state.get("running").is_some(),
            "restartCount": what["restarts"].as_u64().unwrap_or(0), "state": state,
        }])
    };
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": now() });
    let mut status = json!({
        "phase": if what.get("ip").is_some() { "Running" } else { "Pending" },
        "conditions": [condition("PodScheduled"), condition("PodReadyToStartContainers")],
    });
    if let Some(state) = what.get("init") {
        status["initContainerStatuses"] = container("git-init", state);
    }
    if let Some(state) = what.get("opencode") {
        status["containerStatuses"] = container("opencode", state);
    }
    if let Some(ip) = what.get("ip") {
        status["podIP"] = ip.clone();
        status["podIPs"] = json!([{ "ip": ip }]);
    }
    status
}

#[expect(clippy::disallowed_methods, reason = "the node's own clock")]
pub(crate) fn now() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    jiff::Timestamp::from_second(i64::try_from(now.as_secs()).expect("a second")).expect("a time").to_string()
}

fn rand_address() -> [u8; 3] {
    let [a, b, c]: [u8; 3] = rand::random();
    [a.clamp(1, 254), b, c.clamp(1, 254)]
}

fn names<K: Resource<DynamicType = ()>>(event: Event<K>) -> Option<String> {
    match event {
        Event::Apply(object) | Event::Delete(object) | Event::InitApply(object) => Some(object.name_any()),
        Event::Init | Event::InitDone => None,
    }
}

fn ignore_missing<T>(done: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match done {
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        done => done.map(drop),
    }
}
