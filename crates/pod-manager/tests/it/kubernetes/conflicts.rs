//! Claims that somebody rewrote: a session's name is no proof of who owns it.

use kube::api::{Patch, PatchParams};
use pod_manager::{BackendError, Credentials, SessionBackend, contract::WatchProbe, model::Phase};
use serde_json::json;
use session_key::SessionHash;

use super::{cluster::TEST_TIMEOUT, contract::TestCluster};

async fn set_owner(test: &TestCluster, hash: SessionHash, owner: &str) {
    let patch = json!({ "metadata": { "annotations": { "opencode.ai/user-email": owner } } });
    let name = format!("opencode-pvc-{hash}");
    let pvcs = test.node.pvcs();
    pvcs.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.expect("a patched claim");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_of_another_owner_is_neither_served_nor_started() {
    let Some(test) = TestCluster::new().await else { return };
    let backend = test.backend();
    let session = test.session();
    let hash = session.hash;
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    backend.start(&session, Credentials::NONE).await.expect("start");
    probe.wait_running(hash).await;

    set_owner(&test, hash, "bob@example.com").await;
    probe.wait_removed(hash).await;
    assert_eq!(backend.conflicts(), 1);
    // A router that starts now has never seen the owner, but the hash is not bob's.
    let second = test.backend();
    let mut second_probe = WatchProbe::new(&*second, TEST_TIMEOUT);
    second_probe.next().await;
    assert_eq!(second_probe.status(hash), None);
    for backend in [&backend, &second] {
        let refused = backend.start(&session, Credentials::NONE).await;
        assert!(matches!(refused, Err(BackendError::Conflict)), "{refused:?}");
    }
    assert_eq!(test.objects(hash).await[..2], [1, 1], "nothing of the session was touched");

    set_owner(&test, hash, session.owner.email()).await;
    for probe in [&mut probe, &mut second_probe] {
        probe.wait_for(hash, "running again", |status| matches!(status.phase, Phase::Running(_))).await;
    }
    backend.shutdown().await;
    second.shutdown().await;
}
