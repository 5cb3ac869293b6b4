//! Pulls an image with a Pod that runs nothing of it.

use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    api::{ApiError, with_timeout},
    objects::pull_pod::{CONTAINER, LABEL, make_pull_pod},
    settings::KubernetesSettings,
    status::fields::{condition, container},
};
use crate::image::{PullError, PullImage, PulledImage};

/// How long a pull may take.
const DEADLINE: Duration = Duration::from_secs(300);
/// How often the Pod is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// The beginning of the Pods' names.
const NAME_PREFIX: &str = "opencode-image-pull-";

/// Pulls images onto a node of the cluster.
///
/// One node, chosen by the scheduler among those that sessions may use: a router has no right to list nodes.
/// The chart's `prePull` keeps the session image on every node.
pub struct ImagePuller {
    pods: Api<Pod>,
    settings: KubernetesSettings,
}

/// What the Pod shows of the pull.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Waiting(String),
    Pulled,
    Failed(String),
}

impl ImagePuller {
    /// Creates a puller. It calls nothing yet.
    #[must_use]
    pub fn new(client: Client, settings: KubernetesSettings) -> Self {
        Self { pods: Api::namespaced(client, &settings.namespace), settings }
    }

    /// Deletes the Pods of pulls that no router ended.
    async fn delete_leftovers(&self) {
        let params = ListParams::default().labels(&format!("{}={}", LABEL.0, LABEL.1));
        let Ok(pods) = with_timeout(self.pods.list(&params)).await else { return };
        for pod in pods.items {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            // After its deadline, the kubelet has ended it.
            if matches!(phase, Some("Failed" | "Succeeded"))
                && let Some(name) = pod.metadata.name
            {
                self.delete(&name).await;
            }
        }
    }

    async fn delete(&self, name: &str) {
        match with_timeout(self.pods.delete(name, &DeleteParams::default().grace_period(0))).await {
            Ok(_) | Err(ApiError::NotFound) => {}
            Err(error) => tracing::warn!(pod = name, %error, "the Pod of an image pull is not deleted"),
        }
    }

    /// Waits until the Pod's image is pulled. Returns the node.
    async fn wait(&self, name: &str, report: &(dyn Fn(String) + Send + Sync)) -> Result<String, PullError> {
        let mut reported = String::new();
        loop {
            let pod = with_timeout(self.pods.get(name)).await.map_err(call_failed)?;
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
            match progress(&pod, &node) {
                Progress::Pulled => return Ok(node),
                Progress::Failed(reason) => return Err(PullError::Failed(reason)),
                Progress::Waiting(text) => {
                    if text != reported {
                        report(text.clone());
                        reported = text;
                    }
                }
            }
            sleep(INTERVAL).await;
        }
    }
}

#[async_trait]
impl PullImage for ImagePuller {
    async fn pull(
        &self,
        image: &str,
        report: &(dyn Fn(String) + Send + Sync),
    ) -> Result<PulledImage, PullError> {
        let started = Instant::now();
        self.delete_leftovers().await;
        let name = format!("{NAME_PREFIX}{:08x}", rand::random::<u32>());
        let pod = make_pull_pod(&name, image, &self.settings, DEADLINE);
        with_timeout(self.pods.create(&PostParams::default(), &pod)).await.map_err(call_failed)?;
        let node = timeout(DEADLINE, self.wait(&name, report)).await;
        self.delete(&name).await;
        match node {
            Ok(node) => Ok(PulledImage { node: node?, duration: started.elapsed() }),
            Err(_) => Err(PullError::Failed(format!(
                "The image was not pulled within {} seconds.",
                DEADLINE.as_secs()
            ))),
        }
    }
}

fn call_failed(error: ApiError) -> PullError {
    match error {
        ApiError::Forbidden(reason) => PullError::Failed(format!("The cluster refused the Pod: {reason}.")),
        ApiError::NotFound => PullError::Failed("The Pod that pulls the image was deleted.".into()),
        other => PullError::Unavailable(format!("The image was not pulled: {other}.")),
    }
}

fn progress(pod: &Pod, node: &str) -> Progress {
    if let Some(status) = container(pod, CONTAINER) {
        if was_pulled(status) {
            return Progress::Pulled;
        }
        let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
        // After the first failure the kubelet waits longer and longer; an image that is missing stays so.
        if matches!(reason, "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull") {
            let message = waiting.and_then(|waiting| waiting.message.clone()).unwrap_or_default();
            return Progress::Failed(format!("The node {node} cannot pull the image: {message}"));
        }
    }
    let status = pod.status.as_ref();
    if status.and_then(|status| status.phase.as_deref()) == Some("Failed") {
        let reason = status.and_then(|status| status.message.clone().or_else(|| status.reason.clone()));
        return Progress::Failed(format!("The Pod ended: {}", reason.unwrap_or_default()));
    }
    let unscheduled = condition(pod, "PodScheduled").filter(|condition| condition.status == "False");
    match unscheduled.and_then(|condition| condition.message.as_deref()) {
        Some(message) => Progress::Waiting(format!("No node takes the Pod yet: {message}")),
        None if node.is_empty() => Progress::Waiting("Looking for a node…".into()),
        None => Progress::Waiting(format!("Pulling the image on the node {node}…")),
    }
}

/// Returns whether the container's image is on the node: the kubelet creates a container after the pull, also
/// one that then can't run.
fn was_pulled(status: &ContainerStatus) -> bool {
    let state = status.state.as_ref();
    let waiting =
        state.and_then(|state| state.waiting.as_ref()).and_then(|waiting| waiting.reason.as_deref());
    state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        || !status.image_id.is_empty()
        || matches!(
            waiting,
            Some("CreateContainerError" | "CreateContainerConfigError" | "RunContainerError")
        )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(status: &Value, expected: &Progress) {
        let pod: Pod = serde_json::from_value(json!({ "metadata": {}, "status": status })).expect("a Pod");
        assert_eq!(&progress(&pod, "node-1"), expected, "{status}");
    }

    fn waiting(reason: &str, message: &str) -> Value {
        json!({ "containerStatuses": [{
            "name": "pull", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": reason, "message": message } },
        }] })
    }

    #[test]
    fn what_a_pod_shows_of_a_pull() {
        let pulling = Progress::Waiting("Pulling the image on the node node-1…".into());
        check(&json!({}), &pulling);
        check(&waiting("ContainerCreating", ""), &pulling);
        // The first failure may be a network's; the kubelet tries again at once.
        check(&waiting("ErrImagePull", "not found"), &pulling);
        check(
            &waiting("ImagePullBackOff", "not found"),
            &Progress::Failed("The node node-1 cannot pull the image: not found".into()),
        );
        check(&waiting("RunContainerError", "no true"), &Progress::Pulled);
        check(
            &json!({ "phase": "Succeeded", "containerStatuses": [{
                "name": "pull", "image": "x", "imageID": "x@sha256:1", "ready": false, "restartCount": 0,
                "state": { "terminated": { "exitCode": 0 } },
            }] }),
            &Progress::Pulled,
        );
        check(
            &json!({ "phase": "Failed", "reason": "Evicted", "message": "disk pressure" }),
            &Progress::Failed("The Pod ended: disk pressure".into()),
        );
        let unschedulable = json!({ "conditions": [
            { "type": "PodScheduled", "status": "False", "message": "0/3 nodes are available" }] });
        check(
            &unschedulable,
            &Progress::Waiting("No node takes the Pod yet: 0/3 nodes are available".into()),
        );
    }
}
