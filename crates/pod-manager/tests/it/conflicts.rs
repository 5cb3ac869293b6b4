//! A hash is a key, and no proof of who owns the session: what the backend reports is compared with what is known.

use pod_manager::{
    Credentials, ManagerError, Phase, RouteError, Session, Source, ViewState, memory::Restart,
};
use session_key::{GitRef, SessionHash};

use crate::house::{House, alice, bob, repository};

/// Waits until the manager has applied everything that the backend has reported.
async fn wait_applied(house: &House) {
    house.running("a-later-session").await;
}

fn set_owner_to_bob(session: &mut Session) {
    session.owner = bob();
}

async fn create(house: &House, name: &str) -> Result<SessionHash, ManagerError> {
    let created = house.manager.create(&alice(), repository(name, None), Credentials::NONE).await?;
    Ok(created.view.status.session.hash)
}

#[tokio::test]
async fn a_session_reported_under_another_owner_is_served_to_nobody() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    house.backend.edit_session(hash, set_owner_to_bob);
    wait_applied(&house).await;
    for user in [alice(), bob()] {
        assert_eq!(house.manager.get(&user, hash), None);
        assert_eq!(house.manager.route(&user, hash), Err(RouteError::NotFound));
        assert!(house.manager.list(&user).iter().all(|view| view.status.session.hash != hash));
        assert!(matches!(house.manager.delete(&user, hash).await, Err(ManagerError::NotFound)));
    }
    assert!(matches!(create(&house, "widgets").await, Err(ManagerError::Conflict)));
    assert_eq!(house.manager.conflicts(), 1, "counted once, however often it is reported");
    assert!(matches!(house.backend.observed(hash).expect("a session").phase, Phase::Running(_)), "untouched");
}

#[tokio::test]
async fn a_session_reported_under_its_owner_again_is_served_again() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    house.backend.edit_session(hash, set_owner_to_bob);
    wait_applied(&house).await;
    house.backend.edit_session(hash, |session| session.owner = alice());
    house.until(hash, ViewState::Running).await;
    assert!(house.manager.route(&alice(), hash).is_ok());
    assert_eq!(house.manager.get(&bob(), hash), None);
}

#[tokio::test]
async fn a_conflict_ends_with_the_session() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    house.backend.edit_session(hash, set_owner_to_bob);
    wait_applied(&house).await;
    pod_manager::SessionBackend::delete(&*house.backend, hash).await.expect("deleted by an administrator");
    wait_applied(&house).await;
    house.eventually("the key is free", || house.backend.observed(hash).is_none()).await;
    house.running("widgets").await;
}

#[tokio::test]
async fn a_hash_of_another_owner_is_refused_without_naming_them() {
    let mut house = House::new().await;
    let hash = house.running("widgets").await;
    house.backend.edit_session(hash, set_owner_to_bob);
    // The next router knows the session only as bob's.
    house.restart(Restart::ProcessesWentOn).await;
    let error = create(&house, "widgets").await.expect_err("a conflict");
    assert!(matches!(error, ManagerError::Conflict));
    assert!(!error.to_string().contains("bob") && !error.to_string().contains("widgets"), "{error}");
    assert_eq!(house.manager.get(&bob(), hash).expect("his").state, ViewState::Running);
}

#[tokio::test]
async fn a_hash_of_another_branch_is_refused() {
    let mut house = House::new().await;
    let hash = house.running("widgets").await;
    house.backend.edit_session(hash, |session| {
        let Source::Repository { branch, .. } = &mut session.source else { panic!("a repository") };
        *branch = GitRef::parse("another").expect("a branch");
    });
    house.restart(Restart::ProcessesWentOn).await;
    assert!(matches!(create(&house, "widgets").await, Err(ManagerError::Conflict)));
    let view = house.manager.get(&alice(), hash).expect("hers");
    assert_eq!(view.state, ViewState::Running, "what exists stays as it is");
}
