//! Attach tokens on claims: the same for all routers, and in place of the TypeScript router's password.

use std::{sync::Arc, time::Duration};

use kube::api::{Patch, PatchParams};
use pod_manager::{
    SessionBackend, SystemClock,
    attach::AttachTokens,
    contract::WatchProbe,
    manager::{AlwaysLeader, Manager, ManagerSettings},
};
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{cluster::TEST_TIMEOUT, contract::TestCluster, legacy::leave};

/// As the TypeScript router makes them.
const PASSWORD: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_known_to_every_router_and_replaces_the_typescript_routers_password() {
    let Some(test) = TestCluster::new().await else { return };
    let session = test.session();
    let (hash, owner) = (session.hash, &session.owner);
    leave(&test, &session, false).await;
    let claim = format!("opencode-pvc-{hash}");
    let password = json!({ "metadata": { "annotations": { "opencode.ai/attach-password": PASSWORD } } });
    test.node
        .pvcs()
        .patch(&claim, &PatchParams::default(), &Patch::Merge(password))
        .await
        .expect("the password is written");
    let annotations = async || {
        let claim = test.node.pvcs().get(&claim).await.expect("the claim");
        serde_json::to_string(&claim.metadata.annotations).expect("JSON")
    };

    let stop = CancellationToken::new();
    let (one, other) = (test.backend(), test.backend());
    let managers = [one.clone(), other.clone()].map(|backend| {
        let clock = Arc::new(SystemClock);
        let manager = Manager::new(backend, Arc::new(AlwaysLeader), clock, ManagerSettings::default());
        tokio::spawn(manager.clone().run(stop.clone()));
        manager
    });
    let mut probe = WatchProbe::new(&*other, TEST_TIMEOUT);
    for manager in &managers {
        manager.ready().await;
        let grant = manager.attach_grant(hash, PASSWORD.as_bytes()).expect("the password is accepted");
        assert_eq!(grant.owner, session.owner);
    }

    let lifetime = Some(Duration::from_secs(3600));
    let (secret, token) =
        managers[0].create_attach_token(owner, hash, "laptop", lifetime).await.expect("created");
    let has_token = |tokens: &AttachTokens| tokens.valid(token.created_at).any(|one| one.id == token.id);
    probe.wait_for(hash, "with the token", |status| has_token(&status.attach_tokens)).await;
    let secret = secret.expose().as_bytes();
    let mut grants = Vec::new();
    for manager in &managers {
        let grant = timeout(TEST_TIMEOUT, async {
            loop {
                match manager.attach_grant(hash, secret) {
                    Some(grant) => break grant,
                    // Each router learns of it from its own watch.
                    None => tokio::task::yield_now().await,
                }
            }
        });
        grants.push(grant.await.expect("every router accepts the token"));
        assert!(manager.attach_grant(hash, PASSWORD.as_bytes()).is_none(), "the password was replaced");
    }
    let grant = grants.pop().expect("of the other router");
    let stored = annotations().await;
    assert!(!stored.contains(PASSWORD) && !stored.contains("attach-password"), "{stored}");
    assert!(stored.contains("laptop") && !stored.contains("ocattach_"), "{stored}");

    managers[0].revoke_attach_token(owner, hash, token.id).await.expect("revoked");
    timeout(TEST_TIMEOUT, grant.ended()).await.expect("what the other router let in ends");
    assert!(managers[1].attach_grant(hash, secret).is_none());
    assert!(!annotations().await.contains("attach-tokens"), "nothing is left on the claim");
    stop.cancel();
    one.shutdown().await;
    other.shutdown().await;
}
