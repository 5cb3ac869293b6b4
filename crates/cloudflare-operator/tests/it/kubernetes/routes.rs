//! IngressRoutes: written, owned, repaired, adopted, removed.

use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    core::DynamicObject,
};
use serde_json::{Value, json};

use super::cluster::{Cluster, routes_of};

/// Cloudflare is not reached in these tests: the routes do not need it.
const NO_CLOUDFLARE: (&str, &str) = ("CF_API_URL", "http://127.0.0.1:9/client/v4");

fn object(name: &str, labels: &Value, spec: &Value) -> DynamicObject {
    let object = json!({ "apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute",
        "metadata": { "name": name, "labels": labels }, "spec": spec });
    serde_json::from_value(object).expect("an object")
}

fn spec(object: &DynamicObject) -> Value {
    object.data["spec"].clone()
}

impl Cluster {
    async fn wait_route(
        &self,
        name: &str,
        goal: &str,
        holds: impl Fn(&DynamicObject) -> bool,
    ) -> DynamicObject {
        self.wait(&format!("{name}: {goal}"), async || {
            self.route(name).await.is_some_and(|route| holds(&route))
        })
        .await;
        self.route(name).await.expect("a route")
    }
}

#[tokio::test]
async fn a_sessions_routes_exist_from_its_claims_creation_to_its_deletion() {
    let Some(cluster) = Cluster::find().await else { return };
    let first = cluster.create_session(1).await;
    let operator = cluster.operator(&[NO_CLOUDFLARE]).await;
    cluster.wait_routes(&routes_of(&first)).await;
    let second = cluster.create_session(2).await;
    cluster.wait_routes(&[routes_of(&first), routes_of(&second)].concat()).await;
    cluster.delete_session(&first).await;
    cluster.wait_routes(&routes_of(&second)).await;

    assert_eq!(operator.reason("RoutesReconciled").await, "Reconciled");
    assert_eq!(operator.reason("CloudflareReconciled").await, "unreachable", "and that harms nothing");
    assert_eq!(operator.readyz().await.0, 200);
    let applied = operator.metric("opencode_cloudflare_operator_kubernetes_calls_total{call=\"apply\"").await;
    assert_eq!(applied, Some(6.0), "one call for each route:\n{}", operator.log());
    assert_eq!(operator.terminate().await, 0);
}

#[tokio::test]
async fn routes_are_as_the_typescript_operators_apart_from_what_is_better() {
    let Some(cluster) = Cluster::find().await else { return };
    let hash = cluster.create_session(0xa48_da06_0686).await;
    let namespace = cluster.namespace.name().to_owned();
    let _operator = cluster.operator(&[NO_CLOUDFLARE]).await;
    let [signin, app, attach] = routes_of(&hash).try_into().expect("three");
    let uid = cluster.claims().get(&format!("opencode-pvc-{hash}")).await.expect("a claim").uid();
    cluster.wait_routes(&routes_of(&hash)).await;
    for name in [&signin, &app, &attach] {
        let route = cluster.route(name).await.expect("a route");
        let labels = json!({ "app.kubernetes.io/managed-by": "opencode-cloudflare-operator" });
        assert_eq!(serde_json::to_value(route.labels()).expect("JSON"), labels);
        let owners = serde_json::to_value(route.owner_references()).expect("JSON");
        let name = format!("opencode-pvc-{hash}");
        let owner = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": name, "uid": uid });
        assert_eq!(owners, json!([owner]));
        assert_eq!(spec(&route)["entryPoints"], json!(["web"]));
    }
    let host = format!("Host(`{hash}-oc.example.org`)");
    let ports = format!(r"HostRegexp(`^[1-9][0-9]{{3,4}}-{hash}-oc\.example\.org$`)");
    let paths = r"PathRegexp(`^/oauth2/(start|sign_in|static/(css|webfonts)/[a-z0-9-]+(\.[a-z0-9]+)+)$`)";
    let signin_rule = |host: &str| {
        let services = json!([{ "name": "oauth2-proxy-users", "namespace": "oauth2-proxy", "port": 80 }]);
        json!({ "kind": "Rule", "match": format!("{host} && {paths}"), "priority": 1001, "services": services })
    };
    let app_rule = |host: &str| {
        json!({
            "kind": "Rule", "match": host, "priority": 1000,
            "middlewares": [{ "name": "opencode-router-oauth2-chain", "namespace": namespace }],
            "services": [{ "name": "opencode-router", "namespace": namespace, "port": 80 }],
        })
    };
    let routes = async |name: &str| spec(&cluster.route(name).await.expect("a route"))["routes"].clone();
    assert_eq!(routes(&signin).await, json!([signin_rule(&host), signin_rule(&ports)]));
    assert_eq!(routes(&app).await, json!([app_rule(&host), app_rule(&ports)]));
    let attach_rule = json!({
        "kind": "Rule", "match": format!("Host(`attach-{hash}-oc.example.org`)"), "priority": 1000,
        "services": [{ "name": "opencode-router-attach", "namespace": namespace, "port": 4096 }],
    });
    assert_eq!(routes(&attach).await, json!([attach_rule]));
}

#[tokio::test]
async fn what_somebody_changes_or_removes_is_repaired() {
    let Some(cluster) = Cluster::find().await else { return };
    let hash = cluster.create_session(1).await;
    let _operator = cluster.operator(&[NO_CLOUDFLARE]).await;
    cluster.wait_routes(&routes_of(&hash)).await;
    let app = format!("opencode-session-{hash}-oc-app");
    let desired = spec(&cluster.route(&app).await.expect("a route"));
    let params = PatchParams::default();

    let open = json!({ "spec": { "routes": [{ "kind": "Rule", "match": "Host(`evil.example`)" }] } });
    cluster.routes().patch(&app, &params, &Patch::Merge(open)).await.expect("a change");
    cluster.wait_route(&app, "the spec is taken back", |route| spec(route) == desired).await;

    let bare = json!({ "metadata": { "labels": null } });
    cluster.routes().patch(&app, &params, &Patch::Merge(bare)).await.expect("a change");
    cluster.wait_route(&app, "the label is back", |route| !route.labels().is_empty()).await;

    let orphan = json!({ "metadata": { "ownerReferences": null } });
    cluster.routes().patch(&app, &params, &Patch::Merge(orphan)).await.expect("a change");
    cluster.wait_route(&app, "the owner is back", |route| !route.owner_references().is_empty()).await;

    cluster.routes().delete(&app, &DeleteParams::default()).await.expect("a deletion");
    cluster.wait_routes(&routes_of(&hash)).await;

    let note = json!({ "metadata": { "annotations": { "example.org/note": "mine" } } });
    cluster.routes().patch(&app, &params, &Patch::Merge(note)).await.expect("a change");
    let other = cluster.create_session(2).await;
    cluster.wait_routes(&[routes_of(&hash), routes_of(&other)].concat()).await;
    let kept = cluster.route(&app).await.expect("a route");
    assert_eq!(kept.annotations()["example.org/note"], "mine", "what others add stays");
}

#[tokio::test]
async fn objects_of_the_typescript_operator_are_adopted_and_its_leftovers_removed() {
    let Some(cluster) = Cluster::find().await else { return };
    let hash = cluster.create_session(1).await;
    let ours = json!({ "app.kubernetes.io/managed-by": "opencode-cloudflare-operator" });
    let rule = |host: &str| {
        json!({ "entryPoints": ["web"], "routes": [{
            "kind": "Rule", "match": format!("Host(`{host}`)"), "priority": 1,
            "services": [{ "name": "old", "namespace": "old", "port": 80 }],
        }] })
    };
    let old = [
        format!("opencode-session-{hash}-oc-app"),
        format!("opencode-session-{hash}-oc-signin"),
        // A port's routes, and those of a session that is gone.
        format!("opencode-session-5173-{hash}-oc-app"),
        "opencode-session-00000000dead-oc-app".to_owned(),
        "opencode-session-attach-00000000dead-oc-attach".to_owned(),
    ];
    for name in &old {
        let object = object(name, &ours, &rule("old.example.org"));
        cluster.routes().create(&PostParams::default(), &object).await.expect("an old route");
    }
    // Not ours: another name, another label, another owner.
    let foreign = [
        object("code-oauth2-app", &ours, &rule("code.example.org")),
        object("opencode-session-00000000beef-oc-app", &json!({}), &rule("beef.example.org")),
        object("opencode-session-00000000beef-app", &ours, &rule("other-operator.example.org")),
    ];
    for object in &foreign {
        cluster.routes().create(&PostParams::default(), object).await.expect("a foreign route");
    }
    let mut owned = object("opencode-session-00000000cafe-oc-app", &ours, &rule("cafe.example.org"));
    owned.metadata.owner_references = Some(vec![
        serde_json::from_value(json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u" }))
            .expect("an owner"),
    ]);
    cluster.routes().create(&PostParams::default(), &owned).await.expect("a foreign route");

    let _operator = cluster.operator(&[NO_CLOUDFLARE]).await;
    let foreign_names = foreign.iter().chain([&owned]).map(ResourceExt::name_any);
    let expected: Vec<String> = routes_of(&hash).into_iter().chain(foreign_names).collect();
    cluster.wait_routes(&expected).await;
    let app = format!("opencode-session-{hash}-oc-app");
    let adopted = cluster.wait_route(&app, "adopted", |route| !route.owner_references().is_empty()).await;
    assert_eq!(spec(&adopted)["routes"][0]["priority"], 1000);
    for object in &foreign {
        let kept = cluster.route(&object.name_any()).await.expect("a foreign route");
        assert_eq!(spec(&kept), spec(object), "{} is unchanged", object.name_any());
    }
}

#[tokio::test]
async fn a_foreign_object_with_a_name_of_ours_is_reported_and_left_alone() {
    let Some(cluster) = Cluster::find().await else { return };
    let hash = cluster.create_session(1).await;
    let app = format!("opencode-session-{hash}-oc-app");
    let foreign =
        object(&app, &json!({ "app.kubernetes.io/managed-by": "somebody" }), &json!({ "routes": [] }));
    cluster.routes().create(&PostParams::default(), &foreign).await.expect("a foreign route");
    let operator = cluster.operator(&[NO_CLOUDFLARE]).await;
    cluster.wait_routes(&routes_of(&hash)).await;
    cluster.wait("reported", async || operator.reason("RoutesReconciled").await == "Conflicts").await;
    assert_eq!(spec(&cluster.route(&app).await.expect("a route")), json!({ "routes": [] }));
    assert!(operator.readyz().await.1.to_string().contains("belongs to somebody else"));
    // Once it is gone, ours takes its place.
    cluster.routes().delete(&app, &DeleteParams::default()).await.expect("a deletion");
    cluster.wait_route(&app, "ours", |route| !route.owner_references().is_empty()).await;
    cluster.wait("no conflict", async || operator.reason("RoutesReconciled").await == "Reconciled").await;
}

#[tokio::test]
async fn claims_whose_name_and_label_disagree_publish_nothing() {
    let Some(cluster) = Cluster::find().await else { return };
    let hash = cluster.create_session(1).await;
    for (name, label) in [("somebodys", "00000000aaaa"), ("opencode-pvc-00000000bbbb", "*.evil.example")] {
        let claim = json!({
            "metadata": { "name": name, "labels": { "app.kubernetes.io/managed-by": "opencode-router",
                "opencode.ai/session-hash": label.replace('*', "x") } },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
        });
        let claim = serde_json::from_value(claim).expect("a claim");
        cluster.claims().create(&PostParams::default(), &claim).await.expect("a claim");
    }
    let operator = cluster.operator(&[NO_CLOUDFLARE]).await;
    cluster.wait_routes(&routes_of(&hash)).await;
    let (_, body) = operator.readyz().await;
    assert_eq!(body["skippedClaims"].as_object().expect("an object").len(), 2, "{body}");
    assert_eq!(operator.metric("opencode_cloudflare_operator_skipped_claims").await, Some(2.0));
}

#[tokio::test]
async fn the_mode_can_be_changed_and_changed_back() {
    let Some(cluster) = Cluster::find().await else { return };
    let hash = cluster.create_session(1).await;
    let operator = cluster.operator(&[NO_CLOUDFLARE]).await;
    cluster.wait_routes(&routes_of(&hash)).await;
    assert_eq!(operator.terminate().await, 0);

    let all = ["signin", "app", "attach"].map(|part| format!("opencode-sessions-{part}"));
    let operator = cluster.operator(&[NO_CLOUDFLARE, ("ROUTES", "wildcard")]).await;
    cluster.wait_routes(&all).await;
    let app = spec(&cluster.route("opencode-sessions-app").await.expect("a route"))["routes"][0].clone();
    assert_eq!(app["match"], r"HostRegexp(`^([1-9][0-9]{3,4}-)?[0-9a-f]{12}-oc\.example\.org$`)");
    let calls = "opencode_cloudflare_operator_kubernetes_calls_total{call=\"apply\"";
    assert_eq!(operator.metric(calls).await, Some(3.0));
    cluster.create_session(2).await;
    let sessions = "opencode_cloudflare_operator_objects{kind=\"sessions\"}";
    cluster.wait("the session is seen", async || operator.metric(sessions).await == Some(2.0)).await;
    assert_eq!(operator.metric(calls).await, Some(3.0), "a session is no work");
    // What was lost is repaired here, too, and a removed label does not make it foreign.
    let bare = json!({ "metadata": { "labels": null } });
    let patch = Patch::Merge(bare);
    cluster.routes().patch("opencode-sessions-app", &PatchParams::default(), &patch).await.expect("a change");
    cluster.wait_route("opencode-sessions-app", "labelled", |route| !route.labels().is_empty()).await;
    assert_eq!(operator.terminate().await, 0);

    let _operator = cluster.operator(&[NO_CLOUDFLARE]).await;
    cluster.wait_routes(&[routes_of(&hash), routes_of("000000000002")].concat()).await;
}
