//! Users' secrets as Secrets of the cluster.

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use pod_manager::{
    Credentials, SecretName, SecretValue, SecretsChange, SecretsError, SessionBackend,
    contract::{Harness as _, WatchProbe},
};
use serde_json::json;
use session_key::Identity;

use super::{cluster::TEST_TIMEOUT, contract::TestCluster};

fn alice() -> Identity {
    Identity::parse("alice@example.com").expect("an address")
}

fn set(name: &str, value: &str) -> SecretsChange {
    let name = SecretName::parse(name).expect("a name");
    SecretsChange::Set([(name, SecretValue::parse(value).expect("a value"))].into())
}

async fn secret_of(test: &TestCluster, user: &Identity) -> Option<Secret> {
    test.node.secrets().get_opt(&format!("opencode-user-{}", user.digest())).await.expect("an answer")
}

/// Creates Alice's Secret, as another program does.
async fn leave(test: &TestCluster, rest: serde_json::Value) {
    let mut secret = rest;
    secret["metadata"] = json!({ "name": format!("opencode-user-{}", alice().digest()) });
    let secret = serde_json::from_value(secret).expect("a Secret");
    test.node.secrets().create(&PostParams::default(), &secret).await.expect("created");
}

#[tokio::test]
async fn a_secret_of_the_typescript_router_is_adopted() {
    let Some(test) = TestCluster::new().await else { return };
    leave(&test, json!({ "stringData": { "OLD": "one", "PATH": "/bad", "odd.name-1": "two" } })).await;
    let backend = test.backend();
    let store = backend.user_secrets();
    assert_eq!(store.names(&alice()).await.expect("names"), ["OLD", "PATH", "odd.name-1"]);
    assert!(
        secret_of(&test, &alice()).await.expect("it is there").labels().is_empty(),
        "reading changes nothing"
    );
    store.change(&alice(), set("NEW", "three")).await.expect("set");
    let secret = secret_of(&test, &alice()).await.expect("it is there");
    assert_eq!(secret.labels()["app.kubernetes.io/managed-by"], "opencode-router");
    assert_eq!(secret.labels()["app.kubernetes.io/component"], "user-secrets");
    for name in ["PATH", "odd.name-1"] {
        store.change(&alice(), SecretsChange::Remove(name.into())).await.expect("removed");
    }
    let expected = [("NEW".to_owned(), b"three".to_vec()), ("OLD".to_owned(), b"one".to_vec())];
    assert_eq!(test.secrets(&alice()).await, expected.into());
    backend.shutdown().await;
}

#[tokio::test]
async fn changes_by_two_routers_at_once_lose_nothing() {
    let Some(test) = TestCluster::new().await else { return };
    let routers = [test.backend(), test.backend()];
    // The first ones of both race to create the Secret.
    let changes = (0..24).map(|number| {
        let router = routers[number % 2].clone();
        async move { router.user_secrets().change(&alice(), set(&format!("S_{number:02}"), "x")).await }
    });
    for result in join_all(changes).await {
        result.expect("set");
    }
    assert_eq!(routers[0].user_secrets().names(&alice()).await.expect("names").len(), 24);
    // Both remove all of them, one by one: the last one deletes the Secret.
    let removals = (0..24).map(|number| {
        let router = routers[number % 2].clone();
        let change = SecretsChange::Remove(format!("S_{number:02}"));
        async move { router.user_secrets().change(&alice(), change).await }
    });
    for result in join_all(removals).await {
        result.expect("removed");
    }
    assert!(secret_of(&test, &alice()).await.is_none(), "an empty Secret is left");
    for router in routers {
        router.shutdown().await;
    }
}

#[tokio::test]
async fn the_pod_names_its_owners_secret_and_never_contains_a_value() {
    let Some(test) = TestCluster::new().await else { return };
    let (backend, session) = (test.backend(), test.session());
    let store = backend.user_secrets();
    store.change(&session.owner, set("NPM_TOKEN", "s3cr3t-value")).await.expect("set");
    backend.start(&session, Credentials::NONE).await.expect("start");
    WatchProbe::new(&*backend, TEST_TIMEOUT).wait_running(session.hash).await;
    let pod = test.node.pods().get(&format!("opencode-session-{}", session.hash)).await.expect("a Pod");
    let spec = pod.spec.as_ref().expect("a spec");
    let secret = |container: &k8s_openapi::api::core::v1::Container| -> Vec<String> {
        let from = container.env_from.iter().flatten();
        from.filter_map(|from| Some(from.secret_ref.as_ref()?.name.clone())).collect()
    };
    let name = format!("opencode-user-{}", session.owner.digest());
    assert!(secret(&spec.containers[0]).contains(&name), "{:?}", secret(&spec.containers[0]));
    let everything = [
        serde_json::to_string(&pod).expect("JSON"),
        serde_json::to_string(&test.node.pvcs().list(&Default::default()).await.expect("claims").items)
            .expect("JSON"),
    ];
    assert!(everything.iter().all(|text| !text.contains("s3cr3t-value") && !text.contains("czNjcjN0")));
    // It belongs to the user, not to the session.
    backend.delete(session.hash).await.expect("delete");
    WatchProbe::new(&*backend, TEST_TIMEOUT).wait_removed(session.hash).await;
    assert_eq!(store.names(&session.owner).await.expect("names"), ["NPM_TOKEN"]);
    backend.shutdown().await;
}

#[tokio::test]
async fn an_immutable_secret_is_refused_and_can_be_deleted() {
    let Some(test) = TestCluster::new().await else { return };
    leave(&test, json!({ "stringData": { "OLD": "one" }, "immutable": true })).await;
    let backend = test.backend();
    let store = backend.user_secrets();
    let error = store.change(&alice(), set("NEW", "s3cr3t-value")).await.expect_err("immutable");
    assert!(matches!(&error, SecretsError::Store(_)), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("s3cr3t-value"), "{error:?}");
    store.change(&alice(), SecretsChange::Clear).await.expect("deleted");
    store.change(&alice(), set("NEW", "two")).await.expect("a new Secret");
    backend.shutdown().await;
}

#[tokio::test]
async fn a_change_between_reading_and_writing_is_not_undone() {
    let Some(test) = TestCluster::new().await else { return };
    let backend = test.backend();
    let store = backend.user_secrets();
    store.change(&alice(), set("FIRST", "1")).await.expect("set");
    // An administrator edits the Secret all the time.
    let name = format!("opencode-user-{}", alice().digest());
    let edits = async {
        for number in 0..10 {
            let patch = json!({ "stringData": { format!("ADMIN_{number}"): "x" } });
            let patch = Patch::Merge(patch);
            test.node.secrets().patch(&name, &PatchParams::default(), &patch).await.expect("edited");
        }
    };
    let changes = async {
        for number in 0..10 {
            store.change(&alice(), set(&format!("MINE_{number}"), "x")).await.expect("set");
        }
    };
    tokio::join!(edits, changes);
    assert_eq!(store.names(&alice()).await.expect("names").len(), 21);
    backend.shutdown().await;
}
