//! A run whose GitHub token is written after its claim never starts without it, whichever router starts it.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{
    Resource,
    api::{Patch, PatchParams, PostParams},
};
use pod_manager::{
    Credentials, SessionBackend, Token,
    contract::WatchProbe,
    kubernetes::objects::{names::annotation, pvc::make_pvc, secret::make_github_secret},
    model::{Phase, Session, SessionStatus, StopReason},
};

use super::{cluster::TEST_TIMEOUT, contract::TestCluster};

/// Creates the claim of a start whose router was killed before it wrote the token.
async fn create_claim(test: &TestCluster, session: &Session) -> PersistentVolumeClaim {
    let mut claim = make_pvc(session, &test.cluster.settings, session.created_at);
    claim.metadata.annotations.get_or_insert_default().extend([
        (annotation("wanted"), r#"{"state":"running","run":"r1","at":"2026-11-26T08:00:00Z"}"#.into()),
        (annotation("awaited-token"), "r1".into()),
    ]);
    test.node.pvcs().create(&PostParams::default(), &claim).await.expect("a claim")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_token_is_never_written_is_stopped_and_can_be_started_again() {
    let Some(test) = TestCluster::new().await else { return };
    let (session, backend) = (test.session(), test.backend());
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    create_claim(&test, &session).await;
    let never_started = |seen: &SessionStatus| seen.phase == Phase::Stopped(StopReason::NeverStarted);
    probe.wait_for(session.hash, "stopped", never_started).await;
    assert_eq!(test.node.max_process_count(session.hash), 0, "it ran without its token");
    let credentials = Credentials { github_token: Token::parse("gho_x"), git_author: None };
    backend.start(&session, &credentials).await.expect("start");
    probe.wait_running(session.hash).await;
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_starts_once_its_token_is_written() {
    let Some(test) = TestCluster::new().await else { return };
    let (session, backend) = (test.session(), test.backend());
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    let claim = create_claim(&test, &session).await;
    let starts = |seen: &SessionStatus| seen.phase == Phase::Starting;
    probe.wait_for(session.hash, "starting", starts).await;
    let mut secret = make_github_secret(&session, &test.cluster.settings, "gho_x");
    secret.metadata.owner_references = claim.owner_ref(&()).map(|owner| vec![owner]);
    test.node.secrets().create(&PostParams::default(), &secret).await.expect("a Secret");
    probe.wait_running(session.hash).await;
    backend.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_of_an_earlier_session_is_not_the_awaited_one() {
    let Some(test) = TestCluster::new().await else { return };
    let (session, backend) = (test.session(), test.backend());
    let mut probe = WatchProbe::new(&*backend, TEST_TIMEOUT);
    let claim = create_claim(&test, &session).await;
    let mut owner = claim.owner_ref(&()).expect("an owner");
    owner.uid = "00000000-0000-0000-0000-000000000000".into();
    let mut secret = make_github_secret(&session, &test.cluster.settings, "gho_old");
    secret.metadata.owner_references = Some(vec![owner]);
    let params = PatchParams::apply("test");
    let name = secret.metadata.name.clone().expect("a name");
    test.node.secrets().patch(&name, &params, &Patch::Apply(&secret)).await.expect("a Secret");
    let never_started = |seen: &SessionStatus| seen.phase == Phase::Stopped(StopReason::NeverStarted);
    probe.wait_for(session.hash, "stopped", never_started).await;
    assert_eq!(test.node.max_process_count(session.hash), 0, "it ran with another token");
    backend.shutdown().await;
}
