//! The operator's patch has the same result as a strategic merge patch of the API server.

use std::time::UNIX_EPOCH;

use k8s_openapi::{
    api::core::v1::{PodTemplate, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use pod_manager::{
    contract::session_of,
    kubernetes::{
        KubernetesSettings,
        objects::{patch::PodPatch, pod::make_pod},
    },
};
use serde_json::{Value, json};
use session_key::RepoPolicy;

use super::cluster::cluster;

fn template(name: &str, settings: &KubernetesSettings, session: &pod_manager::Session) -> PodTemplate {
    let pod = make_pod(session, settings, UNIX_EPOCH);
    let metadata = ObjectMeta {
        labels: pod.metadata.labels,
        annotations: pod.metadata.annotations,
        ..ObjectMeta::default()
    };
    PodTemplate {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        template: Some(PodTemplateSpec { metadata: Some(metadata), spec: pod.spec }),
    }
}

/// Every rule of the merge, as an operator might use it.
fn patches() -> Vec<Value> {
    vec![
        json!({ "metadata": { "labels": { "team": "a" }, "annotations": { "x/y": "z" } } }),
        json!({ "spec": { "nodeSelector": { "pool": "agents" }, "runtimeClassName": "gvisor", "priorityClassName": "low" } }),
        json!({ "spec": { "tolerations": [{ "key": "a", "operator": "Exists" }, { "key": "b", "operator": "Exists" }] } }),
        json!({ "spec": { "containers": [{ "name": "sidecar", "image": "x:1" }] } }),
        json!({ "spec": { "containers": [{ "name": "opencode" }, { "name": "sidecar", "image": "x:1" }] } }),
        json!({ "spec": { "containers": [{ "name": "opencode", "env": [{ "name": "ZED", "value": "1" }, { "name": "HOME", "value": "/home/opencode" }, { "name": "NEW", "value": "2" }] }] } }),
        json!({ "spec": { "containers": [{ "name": "opencode", "env": [{ "name": "OPENCODE_DISABLE_AUTOUPDATE", "$patch": "delete" }] }] } }),
        json!({ "spec": { "containers": [{ "name": "opencode", "resources": { "$patch": "replace", "limits": { "memory": "8Gi" } } }] } }),
        json!({ "spec": { "containers": [{ "name": "opencode", "volumeMounts": [{ "mountPath": "/tmp", "$patch": "delete" }, { "mountPath": "/var/cache", "name": "tmp" }] }] } }),
        json!({ "spec": { "initContainers": [{ "name": "git-init" }, { "name": "after", "image": "x:1" }] } }),
        json!({ "spec": { "volumes": [{ "name": "tmp", "$retainKeys": ["name", "ephemeral"], "ephemeral": { "volumeClaimTemplate": { "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } } } }] } }),
        json!({ "spec": { "volumes": [{ "name": "cache", "emptyDir": { "sizeLimit": "1Gi" } }, { "name": "config-dir" }, { "name": "other", "emptyDir": {} }] } }),
        json!({ "spec": { "securityContext": { "supplementalGroups": [7, 8], "fsGroupChangePolicy": null } } }),
        json!({ "spec": { "terminationGracePeriodSeconds": 5, "shareProcessNamespace": null, "dnsConfig": { "options": [{ "name": "ndots", "value": "1" }] } } }),
        json!({ "spec": { "imagePullSecrets": [{ "name": "other" }], "hostAliases": [{ "ip": "10.0.0.1", "hostnames": ["git"] }] } }),
        json!({ "spec": { "topologySpreadConstraints": [{ "topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway" }] } }),
        json!({ "spec": { "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "k", "operator": "Exists" }] }] } } } } }),
    ]
}

#[tokio::test]
async fn a_patch_has_the_same_result_as_in_the_api_server() {
    let Some(cluster) = cluster().await else { return };
    let session = session_of("https://github.com/acme/widgets", RepoPolicy::default());
    let plain = KubernetesSettings { image_pull_secret: Some("pull".into()), ..cluster.settings.clone() };
    let templates: Api<PodTemplate> = Api::namespaced(cluster.client.clone(), &plain.namespace);
    templates.create(&PostParams::default(), &template("plain", &plain, &session)).await.expect("a template");
    // A patch that names the init container of earlier versions gets it.
    let keep = json!({ "spec": { "initContainers": [{ "name": "git-init" }] } });
    let keep = PodPatch::parse(&keep.to_string(), &plain).expect("a patch");
    let with_init = KubernetesSettings { pod_patch: Some(keep), ..plain.clone() };
    let with_init = template("with-init", &with_init, &session);
    templates.create(&PostParams::default(), &with_init).await.expect("a template");
    for (number, patch) in patches().into_iter().enumerate() {
        let ours =
            PodPatch::parse(&patch.to_string(), &plain).unwrap_or_else(|error| panic!("{patch}: {error}"));
        let patched = KubernetesSettings { pod_patch: Some(ours), ..plain.clone() };
        let ours = template(&format!("ours-{number}"), &patched, &session);
        // Both get the server's defaults.
        let ours = templates.create(&PostParams::default(), &ours).await.expect("taken by the server");
        let theirs = Patch::Strategic(json!({ "template": patch }));
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let unpatched = if patch.to_string().contains("git-init") { "with-init" } else { "plain" };
        let theirs = templates.patch(unpatched, &dry, &theirs).await.expect("patched by the server");
        let shown = |template: PodTemplate| serde_json::to_value(template.template).expect("JSON");
        assert_eq!(shown(ours), shown(theirs), "{patch}");
    }
}
