use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Request, State},
    routing::{any, get, post},
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, StatusCode};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

/// What there would be of a node, and of opencode. Ends when dropped.
pub(super) struct Node {
    pub(super) prompts: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Node {
    pub(super) async fn start(client: &Client, namespace: &str) -> Self {
        let (listener, ip) = listener().await;
        let mut tasks = JoinSet::new();
        let prompts = Arc::new(AtomicUsize::new(0));
        let opencode = opencode(prompts.clone());
        tasks.spawn(async move { drop(axum::serve(listener, opencode).await) });
        tasks.spawn(pods(Api::namespaced(client.clone(), namespace), ip));
        let (pods, claims) =
            (Api::namespaced(client.clone(), namespace), Api::namespaced(client.clone(), namespace));
        tasks.spawn(volumes(pods, claims));
        Self { prompts, _tasks: tasks }
    }
}

/// opencode's port in every Pod is 4096; the whole of 127.0.0.0/8 is this machine's, so an address of one's own is free.
async fn listener() -> (TcpListener, IpAddr) {
    for _ in 0..100 {
        let [a, b] = rand::random::<[u8; 2]>();
        let ip = Ipv4Addr::new(127, 77, a, b.clamp(1, 254));
        if let Ok(listener) = TcpListener::bind((ip, 4096)).await {
            return (listener, ip.into());
        }
    }
    panic!("no address of this machine has port 4096 free");
}

/// Runs every Pod at once, and lets it go when it is deleted.
async fn pods(api: Api<Pod>, ip: IpAddr) {
    let mut seen =
        watcher(api.clone(), watcher::Config::default()).default_backoff().applied_objects().boxed();
    while let Ok(Some(pod)) = seen.try_next().await {
        let name = pod.name_any();
        if pod.metadata.deletion_timestamp.is_some() {
            let now = DeleteParams::default().grace_period(0);
            // Somebody else may have been quicker.
            drop(api.delete(&name, &now).await);
        } else if pod.status.as_ref().is_none_or(|status| status.pod_ip.is_none()) {
            let status = Patch::Merge(json!({ "status": status(&pod, ip) }));
            drop(api.patch_status(&name, &PatchParams::default(), &status).await);
        }
    }
}

fn status(pod: &Pod, ip: IpAddr) -> Value {
    let now = pod.metadata.creation_timestamp.clone();
    let condition = |name: &str| json!({ "type": name, "status": "True", "lastTransitionTime": now });
    let container = |name: &str, state: Value| json!({ "name": name, "image": "x", "imageID": "x", "ready": true, "restartCount": 0, "state": state });
    let done = json!({ "terminated": { "exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now } });
    let conditions = ["PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"];
    let conditions = conditions.map(condition);
    json!({
        "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }], "startTime": now,
        "conditions": conditions,
        "initContainerStatuses": [container("git-init", done)],
        "containerStatuses": [container("opencode", json!({ "running": { "startedAt": now } }))],
    })
}

/// Lets a claim go once its Pod is gone, as the cluster's controllers do.
async fn volumes(pods: Api<Pod>, claims: Api<PersistentVolumeClaim>) {
    let mut seen =
        watcher(claims.clone(), watcher::Config::default()).default_backoff().applied_objects().boxed();
    while let Ok(Some(claim)) = seen.try_next().await {
        if claim.metadata.deletion_timestamp.is_none() {
            continue;
        }
        let name = claim.name_any();
        let pod = name.replace("opencode-pvc-", "opencode-session-");
        while !matches!(pods.get_opt(&pod).await, Ok(None)) {
            sleep(Duration::from_millis(20)).await;
        }
        let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        drop(claims.patch(&name, &PatchParams::default(), &free).await);
    }
}

/// As much of opencode as the router asks, and for all else: what was sent.
fn opencode(prompts: Arc<AtomicUsize>) -> Router {
    let list = Json(json!([{ "id": "ses_1", "title": "A title", "directory": "/home/opencode/repo" }]));
    let prompt = |State(prompts): State<Arc<AtomicUsize>>| async move {
        prompts.fetch_add(1, Ordering::SeqCst);
        StatusCode::NO_CONTENT
    };
    Router::new()
        .route("/global/health", get(health))
        .route("/session", get(|| async { list }))
        .route("/session/status", get(|| async { Json(json!({})) }))
        .route("/session/{id}/message", get(|| async { Json(json!([])) }))
        .route("/session/{id}/prompt_async", post(prompt))
        .fallback(any(tell))
        .with_state(prompts)
}

/// Who brings no password is a stranger.
async fn health(headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    headers.get("authorization").ok_or(StatusCode::UNAUTHORIZED)?;
    Ok(Json(json!({ "healthy": true, "version": "1.18.33" })))
}

async fn tell(request: Request) -> Json<Value> {
    let header = |name: &str| {
        request.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Json(
        json!({ "path": request.uri().path(), "authorization": header("authorization"), "host": header("host"),
        "email": header("x-auth-request-email"), "token": header("x-auth-request-access-token") }),
    )
}
