//! Tests of strategic-merge patches: their results, and what they may not change.

use serde_json::json;

use super::{
    super::{super::settings::KubernetesSettings, pod::make_pod},
    *,
};

fn settings() -> KubernetesSettings {
    KubernetesSettings::new("registry.example/opencode:1")
}

/// Merges a patch into a small Pod.
#[track_caller]
fn check(pod: Value, patch: Value, expected: Value) {
    let (Value::Object(pod), Value::Object(patch)) = (pod, patch) else { panic!("maps") };
    assert_eq!(merge_maps(pod, &patch, "").map(Value::Object), Ok(expected));
}

#[track_caller]
fn refused(patch: &str, expected: &str) {
    let error = PodPatch::parse(patch, &settings()).expect_err("refused").to_string();
    assert!(error.contains(expected), "{expected:?} is not in {error:?}");
}

#[test]
fn maps_are_merged_and_null_removes() {
    check(
        json!({ "spec": { "hostUsers": false, "nodeSelector": { "a": "1" } } }),
        json!({ "spec": { "nodeSelector": { "b": "2" }, "hostUsers": null, "priorityClassName": "low" } }),
        json!({ "spec": { "nodeSelector": { "a": "1", "b": "2" }, "priorityClassName": "low" } }),
    );
    check(
        json!({ "spec": { "nodeSelector": { "a": "1" } } }),
        json!({ "spec": { "nodeSelector": { "$patch": "replace", "b": "2" } } }),
        json!({ "spec": { "nodeSelector": { "b": "2" } } }),
    );
    check(
        json!({ "spec": { "volumes": [{ "name": "v", "emptyDir": { "medium": "Memory" } }] } }),
        json!({ "spec": { "volumes": [{ "name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": { "path": "/x" } }] } }),
        json!({ "spec": { "volumes": [{ "name": "v", "hostPath": { "path": "/x" } }] } }),
    );
}

#[test]
fn lists_with_a_key_are_merged_by_it_and_others_are_replaced() {
    let pod = || json!({ "spec": { "containers": [{ "name": "opencode", "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }], "args": ["x"] }] } });
    check(
        pod(),
        json!({ "spec": { "containers": [{ "name": "opencode", "env": [{ "name": "B", "value": "3" }], "args": ["y", "z"] }] } }),
        json!({ "spec": { "containers": [{ "name": "opencode", "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "3" }], "args": ["y", "z"] }] } }),
    );
    check(
        pod(),
        json!({ "spec": { "containers": [{ "name": "opencode", "env": [{ "name": "A", "$patch": "delete" }] }] } }),
        json!({ "spec": { "containers": [{ "name": "opencode", "env": [{ "name": "B", "value": "2" }], "args": ["x"] }] } }),
    );
    check(
        pod(),
        json!({ "spec": { "containers": [{ "name": "opencode", "env": [{ "$patch": "replace" }, { "name": "C", "value": "4" }] }] } }),
        json!({ "spec": { "containers": [{ "name": "opencode", "env": [{ "name": "C", "value": "4" }], "args": ["x"] }] } }),
    );
    check(
        json!({ "spec": { "tolerations": [{ "key": "a" }] } }),
        json!({ "spec": { "tolerations": [{ "key": "b" }] } }),
        json!({ "spec": { "tolerations": [{ "key": "b" }] } }),
    );
}

#[test]
fn new_entries_come_first_unless_the_patch_orders_them() {
    let pod = || json!({ "spec": { "volumes": [{ "name": "a" }, { "name": "b" }, { "name": "c" }] } });
    let names = |names: &[&str]| json!({ "spec": { "volumes": names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>() } });
    check(pod(), names(&["x", "y"]), names(&["x", "y", "a", "b", "c"]));
    check(pod(), names(&["b", "x"]), names(&["a", "b", "x", "c"]));
    check(pod(), names(&["x", "b"]), names(&["x", "a", "b", "c"]));
    check(pod(), names(&["c", "a"]), names(&["b", "c", "a"]));
}

#[test]
fn a_patch_reaches_the_pod() {
    let text = "
spec:
  runtimeClassName: gvisor
  nodeSelector: { pool: agents }
  tolerations: [{ key: agents, operator: Exists, effect: NoSchedule }]
  containers:
    - name: opencode
      env: [{ name: HTTPS_PROXY, value: http://proxy:3128 }]
    - name: browser
      image: registry.example/chromium:1
metadata:
  labels: { team: a }
";
    let patch = PodPatch::parse(text, &settings()).expect("a valid patch");
    let settings = KubernetesSettings { pod_patch: Some(patch), ..settings() };
    let session =
        crate::contract::session_of("https://git.example.com/a/b", session_key::RepoPolicy::default());
    let pod = make_pod(&session, &settings, std::time::UNIX_EPOCH);
    assert_eq!(pod.metadata.labels.as_ref().expect("labels").len(), 3);
    let spec = pod.spec.expect("a spec");
    assert_eq!(spec.runtime_class_name.as_deref(), Some("gvisor"));
    assert_eq!(spec.tolerations.expect("tolerations")[0].key.as_deref(), Some("agents"));
    let names: Vec<_> = spec.containers.iter().map(|container| container.name.as_str()).collect();
    assert_eq!(names, ["opencode", "browser"]);
    let env = spec.containers[0].env.as_ref().expect("variables");
    assert!(env.len() > 2 && env[0].name == "HTTPS_PROXY");
}

#[test]
fn an_invalid_patch_is_refused() {
    refused("a: [", "neither YAML nor JSON");
    refused("- a", "not a part of a Pod");
    refused("kind: Deployment", "`kind` is not Pod");
    refused("status: {}", "`status` is written by the cluster");
    refused("spec: { nodeSelecter: { a: b } }", "a Pod has no `spec.nodeSelecter`");
    refused(
        "spec: { containers: [{ name: opencode, evn: [] , imagee: x }] }",
        "a Pod has no `spec.containers[].imagee`",
    );
    refused("spec: { nodeSelector: [a] }", "not a Pod");
    refused("spec: { containers: [{ image: x }] }", "`spec.containers` has an entry without `name`");
    refused("spec: { volumes: [{ name: a }, { name: a }] }", "has \"a\" twice");
    refused(
        "spec: { $setElementOrder/containers: [] }",
        "`$setElementOrder/containers`, which is not supported",
    );
    refused("spec: { $patch: remove }", "neither merge, replace nor delete");
    refused("spec: { $patch: delete }", "no longer has `opencode`");
}

#[test]
fn a_patch_cannot_change_what_the_router_relies_on() {
    refused("metadata: { name: mine }", "`metadata.name` belongs to the router");
    refused("metadata: { finalizers: [a/b] }", "`metadata.finalizers` belongs to the router");
    refused(
        "metadata: { labels: { opencode.ai/session-hash: x } }",
        "the router finds its Pods by the label",
    );
    refused(
        "metadata: { labels: { app.kubernetes.io/managed-by: null } }",
        "the router finds its Pods by the label",
    );
    refused("metadata: { labels: null }", "the router finds its Pods by the label");
    refused("metadata: { annotations: { opencode.ai/user-email: x } }", "belong to the router");
    refused("spec: { volumes: [{ name: user-data, emptyDir: {} }] }", "session's storage");
    refused("spec: { volumes: [{ $patch: replace }] }", "session's storage");
    refused(
        "spec: { containers: [{ name: opencode, $patch: delete }, { name: x }] }",
        "no longer has `opencode`",
    );
    refused("spec: { initContainers: [{ name: git-init, $patch: delete }] }", "no longer has `git-init`");
    refused(
        "spec: { containers: [{ name: opencode, ports: [{ containerPort: 4096, $patch: delete }] }] }",
        "the port 4096",
    );
    refused("spec: { containers: [{ name: opencode, envFrom: [] }] }", "`envFrom`");
    refused(
        "spec: { containers: [{ name: opencode, env: [{ name: OPENCODE_SERVER_PASSWORD, value: x }] }] }",
        "opencode's password",
    );
    refused(
        "spec: { initContainers: [{ name: git-init, env: [{ name: REPO_URL, value: x }] }] }",
        "what is cloned",
    );
    for name in ["OPENCODE_ROUTER_REPO_URL", "OPENCODE_ROUTER_GITHUB_TOKEN"] {
        refused(
            &format!("spec: {{ containers: [{{ name: opencode, env: [{{ name: {name}, value: x }}] }}] }}"),
            "what is cloned",
        );
    }
    refused(
        "spec: { containers: [{ name: opencode, volumeMounts: [{ mountPath: /home/opencode, readOnly: true }] }] }",
        "the mount of the session's storage",
    );
}
