//! The kubelet: it runs the containers of the Pods, and reports their states.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{DeleteParams, Preconditions},
};
use serde_json::json;
use session_key::SessionHash;
use tokio::time::sleep;

use super::{
    HASH_LABEL, SimulatedNode,
    pod_status::{now, pod_status},
};
use crate::{model::Password, opencode::fake::FakeOpencode};

// Not the backend's constant, as HASH_LABEL.
const PORT: u16 = 4096;

impl SimulatedNode {
    /// Brings the Pod one step further.
    pub(super) async fn reconcile_pod(self: &Arc<Self>, pod: &Pod) -> Result<(), kube::Error> {
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
}

fn random_loopback_address() -> Ipv4Addr {
    let [a, b, c]: [u8; 3] = rand::random();
    Ipv4Addr::new(127, a.clamp(1, 254), b, c.clamp(1, 254))
}
