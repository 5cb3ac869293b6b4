//! A namespace that enforces the `restricted` Pod Security Standard admits all objects of the router.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod, Secret};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use pod_manager::{
    Password,
    contract::session_of,
    kubernetes::{
        KubernetesSettings,
        objects::{pod::make_pod, pull_pod::make_pull_pod, pvc::make_pvc, secret::make_server_secret},
    },
    model::Source,
};
use serde_json::json;
use session_key::RepoPolicy;

use super::cluster::cluster;

#[tokio::test]
async fn a_restricted_namespace_admits_every_manifest() {
    let Some(cluster) = cluster().await else { return };
    let (client, namespace) = (cluster.client.clone(), cluster.settings.namespace.clone());
    let labels = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.patch(&namespace, &PatchParams::default(), &Patch::Merge(labels)).await.expect("labelled");
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let dry = PostParams { dry_run: true, ..PostParams::default() };

    let repository = session_of("https://git.example.com/acme/widgets", RepoPolicy::default());
    let empty = pod_manager::model::Session { source: Source::Empty, ..repository.clone() };
    for session in [&repository, &empty] {
        for user_namespaces in [false, true] {
            let settings = KubernetesSettings { user_namespaces, ..cluster.settings.clone() };
            let pod = make_pod(session, &settings, session.created_at);
            pods.create(&dry, &pod).await.expect("the Pod is admitted");
            let pvc = make_pvc(session, &settings, session.created_at);
            let pvcs: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
            pvcs.create(&dry, &pvc).await.expect("the claim is admitted");
            let secret = make_server_secret(session, &settings, &Password::new("geheim"));
            let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
            secrets.create(&dry, &secret).await.expect("the Secret is admitted");
        }
    }

    let pull = make_pull_pod("pull", "session:2", &cluster.settings, Duration::from_secs(300));
    pods.create(&dry, &pull).await.expect("the Pod that pulls an image is admitted");

    // The namespace refuses a lax Pod, so the test would notice one.
    let mut lax = make_pod(&repository, &cluster.settings, repository.created_at);
    let spec = lax.spec.as_mut().expect("a spec");
    spec.containers[0].security_context = None;
    let refusal = pods.create(&dry, &lax).await.expect_err("refused");
    assert!(refusal.to_string().contains("\"opencode\""), "by its name: {refusal}");
}
