//! Pulling an image, against a real API server whose nodes are simulated by the test.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use parking_lot::Mutex;
use pod_manager::{
    PullError, PullImage,
    kubernetes::{ImagePuller, testing::TestNamespace},
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

/// Waits for the Pod of a pull, and gives it this status.
async fn answer(pods: &Api<Pod>, status: &Value) -> Pod {
    let params = ListParams::default().labels("app.kubernetes.io/component=image-pull");
    let found = async {
        loop {
            if let Some(pod) = pods.list(&params).await.expect("a list").items.pop() {
                return pod;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let pod = timeout(Duration::from_secs(30), found).await.expect("a Pod");
    let name = pod.metadata.name.clone().expect("a name");
    let patch = Patch::Merge(json!({ "status": status }));
    pods.patch_status(&name, &PatchParams::default(), &patch).await.expect("a status");
    pod
}

fn container(state: &Value, image_id: &str) -> Value {
    json!({ "containerStatuses": [{
        "name": "pull", "image": "x", "imageID": image_id, "ready": false, "restartCount": 0, "state": state,
    }] })
}

#[tokio::test]
async fn an_image_is_pulled_by_a_pod_that_is_removed() {
    let Some(TestNamespace { client, settings, .. }) = TestNamespace::find().await else { return };
    let pods: Api<Pod> = Api::namespaced(client.clone(), &settings.namespace);
    let puller = Arc::new(ImagePuller::new(client, settings));
    for (status, expected) in [
        (container(&json!({ "terminated": { "exitCode": 0 } }), "x@sha256:1"), Ok(())),
        (
            container(&json!({ "waiting": { "reason": "ImagePullBackOff", "message": "not found" } }), ""),
            Err("not found"),
        ),
    ] {
        let reports = Arc::new(Mutex::new(Vec::new()));
        let (puller, sink) = (puller.clone(), reports.clone());
        let pull = tokio::spawn(async move {
            puller.pull("registry.example.org/x:1", &|text| sink.lock().push(text)).await
        });
        let pod = answer(&pods, &status).await;
        assert_eq!(
            pod.spec.expect("a spec").containers[0].image.as_deref(),
            Some("registry.example.org/x:1")
        );
        match (timeout(Duration::from_secs(30), pull).await.expect("in time").expect("no panic"), expected) {
            (Ok(_), Ok(())) => {}
            (Err(PullError::Failed(reason)), Err(part)) => assert!(reason.contains(part), "{reason}"),
            other => panic!("{other:?}"),
        }
        let left = pods.list(&ListParams::default()).await.expect("a list").items;
        assert!(left.is_empty(), "{left:?}");
    }
}
