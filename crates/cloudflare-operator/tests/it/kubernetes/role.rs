//! The chart's Role: enough, and nothing else.

use k8s_openapi::api::{
    authorization::v1::SelfSubjectAccessReview,
    core::v1::{Pod, Secret},
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use pod_manager::kubernetes::connect::connect;
use serde_json::{Value, json};

use super::cluster::{Cluster, hosts_of, routes_of};

#[tokio::test]
async fn the_charts_role_is_enough_and_nothing_else_is_allowed() {
    let Some(cluster) = Cluster::find().await else { return };
    let kubeconfig = cluster.account_of_chart().await;
    let operator = cluster.operator(&[("KUBECONFIG", &kubeconfig.display().to_string())]).await;
    let first = cluster.create_session(1).await;
    cluster.wait_routes(&routes_of(&first)).await;
    cluster.wait_hosts(&hosts_of(&first)).await;
    let second = cluster.create_session(2).await;
    cluster.delete_session(&first).await;
    cluster.wait_routes(&routes_of(&second)).await;
    cluster.wait_hosts(&hosts_of(&second)).await;
    assert!(!operator.log().contains("orbidden"), "{}", operator.log());
    assert_eq!(operator.terminate().await, 0);

    let connection = connect(Some(kubeconfig.as_os_str()), None).await.expect("a connection");
    let namespace = cluster.namespace.name();
    let secrets: Api<Secret> = Api::namespaced(connection.client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(connection.client.clone(), namespace);
    let params = ListParams::default();
    let forbidden = |error: kube::Error| matches!(error, kube::Error::Api(status) if status.code == 403);
    assert!(secrets.list(&params).await.is_err_and(forbidden));
    assert!(pods.list(&params).await.is_err_and(forbidden));

    let reviews: Api<SelfSubjectAccessReview> = Api::all(connection.client.clone());
    let may = async |namespace: &str, verb: &str, group: &str, resource: &str, name: &str| {
        let attributes = json!({ "namespace": namespace, "verb": verb, "group": group, "resource": resource,
            "name": name });
        let review = json!({ "spec": { "resourceAttributes": attributes } });
        let review = serde_json::from_value(review).expect("a review");
        let answer = reviews.create(&PostParams::default(), &review).await.expect("an answer");
        answer.status.expect("a status").allowed
    };
    assert!(may(namespace, "patch", "traefik.io", "ingressroutes", "x").await);
    assert!(may(namespace, "update", "coordination.k8s.io", "leases", "opencode-cloudflare-operator").await);
    for (place, verb, group, resource, name) in [
        ("default", "list", "", "persistentvolumeclaims", ""),
        ("default", "patch", "traefik.io", "ingressroutes", "x"),
        (namespace, "get", "", "secrets", "opencode-github-000000000001"),
        (namespace, "create", "", "pods", ""),
        (namespace, "patch", "", "persistentvolumeclaims", "x"),
        (namespace, "delete", "", "persistentvolumeclaims", "x"),
        (namespace, "patch", "traefik.io", "middlewares", "x"),
        (namespace, "update", "coordination.k8s.io", "leases", "opencode-router-reaper"),
        (namespace, "create", "rbac.authorization.k8s.io", "roles", ""),
    ] {
        assert!(!may(place, verb, group, resource, name).await, "{verb} {resource} {name} in {place}");
    }
}

#[tokio::test]
async fn without_rights_the_operator_is_not_ready_and_says_why() {
    let Some(cluster) = Cluster::find().await else { return };
    let kubeconfig = cluster.account_with(&json!([])).await.display().to_string();
    let operator = cluster.operator(&[("KUBECONFIG", &kubeconfig)]).await;
    cluster.wait("a reason", async || operator.readyz().await.1.to_string().contains("forbidden")).await;
    let (status, body) = operator.readyz().await;
    assert_eq!((status, &body["ready"]), (503, &false.into()), "{body}");
    assert_eq!(operator.reason("RoutesListed").await, "NotListed");
    assert_eq!(operator.get("/livez").await.0, 200, "a restart would not help");
    assert_eq!(cluster.stand_in.with(|model| model.calls().len()), 0, "nothing is known, so nothing is done");
    assert_eq!(operator.terminate().await, 0);
}

#[tokio::test]
async fn an_api_server_that_is_away_leaves_cloudflare_as_it_is() {
    let Some(cluster) = Cluster::find().await else { return };
    let hash = cluster.create_session(1).await;
    let operator = cluster.operator(&[]).await;
    cluster.wait_hosts(&hosts_of(&hash)).await;
    assert_eq!(operator.terminate().await, 0);

    let text = std::fs::read_to_string(&cluster.namespace.kubeconfig).expect("a kubeconfig");
    let mut config: Value = serde_yaml_ng::from_str(&text).expect("YAML");
    config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:9");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, config.to_string()).expect("a file");
    cluster.stand_in.with(|model| model.reset_calls());
    let operator = cluster.operator(&[("KUBECONFIG", &path.display().to_string())]).await;
    cluster.wait("a reason", async || operator.readyz().await.1.to_string().contains("refused")).await;
    assert_eq!(operator.readyz().await.0, 503);
    assert_eq!(cluster.stand_in.with(|model| model.calls().len()), 0);
    cluster.wait_hosts(&hosts_of(&hash)).await;
    assert_eq!(operator.terminate().await, 0);
}
