//! A hash is a key, and no proof of who owns the session: what the backend reports is compared with what is
//! known.

use pod_manager::{
    Credentials, ManagerError, Phase, RouteError, Session, SessionBackend, Source, ViewState, memory::Restart,
};
use session_key::{GitRef, SessionHash};

use crate::test_manager::{TestManager, alice, bob, repository};

/// Waits until the manager has applied everything that the backend has reported.
async fn wait_applied(test: &TestManager) {
    test.create_running("a-later-session").await;
}

fn set_owner_to_bob(session: &mut Session) {
    session.owner = bob();
}

async fn create(test: &TestManager, name: &str) -> Result<SessionHash, ManagerError> {
    let created = test.manager.create(&alice(), repository(name, None), Credentials::NONE).await?;
    Ok(created.view.status.session.hash)
}

#[tokio::test]
async fn a_session_reported_under_another_owner_is_served_to_nobody() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.backend.edit_session(hash, set_owner_to_bob);
    wait_applied(&test).await;
    for user in [alice(), bob()] {
        assert_eq!(test.manager.get(&user, hash), None);
        assert_eq!(test.manager.route(&user, hash), Err(RouteError::NotFound));
        assert!(test.manager.list(&user).iter().all(|view| view.status.session.hash != hash));
        assert!(matches!(test.manager.delete(&user, hash).await, Err(ManagerError::NotFound)));
    }
    assert!(matches!(create(&test, "widgets").await, Err(ManagerError::Conflict)));
    assert_eq!(test.manager.conflicts(), 1, "counted once, however often it is reported");
    assert!(matches!(test.backend.status(hash).expect("a session").phase, Phase::Running(_)), "untouched");
}

#[tokio::test]
async fn a_session_reported_under_its_owner_again_is_served_again() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.backend.edit_session(hash, set_owner_to_bob);
    wait_applied(&test).await;
    test.backend.edit_session(hash, |session| session.owner = alice());
    test.wait_state(hash, ViewState::Running).await;
    assert!(test.manager.route(&alice(), hash).is_ok());
    assert_eq!(test.manager.get(&bob(), hash), None);
}

#[tokio::test]
async fn a_conflict_ends_with_the_session() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.backend.edit_session(hash, set_owner_to_bob);
    wait_applied(&test).await;
    SessionBackend::delete(&*test.backend, hash).await.expect("deleted by an administrator");
    wait_applied(&test).await;
    test.eventually("the key is free", || test.backend.status(hash).is_none()).await;
    test.create_running("widgets").await;
}

#[tokio::test]
async fn a_hash_of_another_owner_is_refused_without_naming_them() {
    let mut test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.backend.edit_session(hash, set_owner_to_bob);
    // The next router knows the session only as bob's.
    test.restart(Restart::ProcessesContinued).await;
    let error = create(&test, "widgets").await.expect_err("a conflict");
    assert!(matches!(error, ManagerError::Conflict));
    assert!(!error.to_string().contains("bob") && !error.to_string().contains("widgets"), "{error}");
    assert_eq!(test.manager.get(&bob(), hash).expect("a session of bob").state, ViewState::Running);
}

#[tokio::test]
async fn a_hash_of_another_branch_is_refused() {
    let mut test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.backend.edit_session(hash, |session| {
        let Source::Repository { branch, .. } = &mut session.source else { panic!("a repository") };
        *branch = GitRef::parse("another").expect("a branch");
    });
    test.restart(Restart::ProcessesContinued).await;
    assert!(matches!(create(&test, "widgets").await, Err(ManagerError::Conflict)));
    let view = test.view(hash);
    assert_eq!(view.state, ViewState::Running, "what exists stays as it is");
}
