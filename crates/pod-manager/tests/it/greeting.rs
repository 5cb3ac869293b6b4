//! What happens between opencode's first answer and the session's page.

use std::time::Duration;

use pod_manager::{Credentials, ManagerSettings, Phase, Stage, ViewState, memory::Restart, memory::Verb};
use session_key::SessionHash;

use crate::house::{House, alice, quick, repository};

const MESSAGE: &str = "Fix the \"build\",\nplease: ümläut 🦀";

async fn create(house: &House) -> SessionHash {
    let created = house
        .manager
        .create(&alice(), repository("widgets", Some(MESSAGE)), Credentials::NONE)
        .await
        .expect("create");
    created.view.status.session.hash
}

/// Everything that people said there.
fn said(house: &House) -> Vec<String> {
    let conversations = house.opencode.conversations().into_iter();
    conversations.flat_map(|(_, messages)| messages).flat_map(|m| m.parts).map(|(_, text)| text).collect()
}

#[tokio::test]
async fn a_session_runs_once_its_page_leads_into_the_repository() {
    let house = House::new().await;
    house.opencode.set_silent(true);
    let hash = house.create("widgets").await.view.status.session.hash;
    let waiting = house.when(hash, |view| view.endpoint().is_some()).await;
    assert_eq!(waiting.state, ViewState::Creating, "opencode answers, but was not greeted");
    let ready = waiting.stages.last().expect("a stage");
    assert_eq!((ready.stage, ready.started.is_some(), ready.ended), (Stage::Ready, true, None));
    house.opencode.set_silent(false);
    let seen = house.until(hash, ViewState::Running).await;
    let conversation = &house.opencode.conversations()[0].0;
    // base64url of /fake/repo
    assert_eq!(
        seen.landing_path.as_deref(),
        Some(format!("/L2Zha2UvcmVwbw/session/{conversation}").as_str())
    );
    assert_eq!(seen.title, None, "a name that opencode gives to all is no title");
    assert!(seen.stages.last().expect("a stage").ended.is_some());
    assert_eq!(house.opencode.conversations().len(), 1, "one was made, the first time");
}

#[tokio::test]
async fn the_page_follows_the_newest_conversation() {
    let house = House::new().await;
    let hash = house.running("widgets").await;
    let newest = house.opencode.converse("Fix the build");
    let seen = house.when(hash, |view| view.title.is_some()).await;
    assert_eq!(seen.title.as_deref(), Some("Fix the build"));
    assert!(seen.landing_path.as_ref().expect("an entry").ends_with(&newest));
    house.manager.stop(&alice(), hash).await.expect("stop");
    house.until(hash, ViewState::Stopped).await;
    house.manager.resume(&alice(), hash, Credentials::NONE).await.expect("resume");
    let seen = house.until(hash, ViewState::Running).await;
    assert!(seen.landing_path.as_ref().expect("an entry").ends_with(&newest), "no other one was made");
}

#[tokio::test]
async fn the_first_message_is_sent_once() {
    let house = House::new().await;
    let hash = create(&house).await;
    let seen = house.until(hash, ViewState::Running).await;
    assert!(seen.busy, "it is being answered");
    assert_eq!(said(&house), [MESSAGE]);
    house.when(hash, |view| view.status.first_prompt_sent).await;
    house.manager.stop(&alice(), hash).await.expect("stop");
    house.until(hash, ViewState::Stopped).await;
    house.manager.resume(&alice(), hash, Credentials::NONE).await.expect("resume");
    house.until(hash, ViewState::Running).await;
    assert_eq!(house.opencode.prompts(), 1);
    assert_eq!(house.backend.calls(Verb::Greeted, hash), 1);
}

#[tokio::test]
async fn a_router_that_ended_between_sending_and_noting_does_not_send_another_one() {
    for restart in [Restart::ProcessesEnded, Restart::ProcessesWentOn] {
        let mut house = House::new().await;
        // The message arrives; that it did can't be written down; then the router is gone.
        house.backend.refuse(|verb| {
            (verb == Verb::Greeted).then(|| pod_manager::BackendError::Unavailable("gone".into()))
        });
        let hash = create(&house).await;
        house.eventually("it is sent", || house.opencode.prompts() > 0).await;
        // Its person goes on working elsewhere meanwhile.
        house.opencode.converse("Another matter");
        house.backend.refuse_nothing();
        house.restart(restart).await;
        if restart == Restart::ProcessesEnded {
            house.manager.resume(&alice(), hash, Credentials::NONE).await.expect("resume");
        }
        house.when(hash, |view| view.state == ViewState::Running && view.status.first_prompt_sent).await;
        assert_eq!(said(&house), [MESSAGE], "opencode has it once");
    }
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_there_once() {
    let house = House::new().await;
    house.opencode.lose_answers_to_prompts(true);
    let hash = create(&house).await;
    house.eventually("it is sent again", || house.opencode.prompts() >= 2).await;
    house.opencode.lose_answers_to_prompts(false);
    house.when(hash, |view| view.status.first_prompt_sent).await;
    assert_eq!(said(&house), [MESSAGE]);
}

#[tokio::test]
async fn a_message_that_comes_late_does_not_go_into_a_conversation_under_way() {
    let house = House::new().await;
    house.opencode.set_silent(true);
    let hash = create(&house).await;
    house.when(hash, |view| view.endpoint().is_some()).await;
    house.opencode.converse("Made elsewhere");
    house.opencode.set_silent(false);
    house.when(hash, |view| view.status.first_prompt_sent).await;
    let conversations = house.opencode.conversations();
    assert_eq!(conversations.len(), 1, "an empty one is taken");
    assert_eq!(conversations[0].1.len(), 1);
}

#[tokio::test]
async fn an_opencode_that_refuses_for_long_is_opened_all_the_same_and_greeted_later() {
    let house = House::with(ManagerSettings { deliver_timeout: Duration::from_millis(30), ..quick() }).await;
    house.backend.set_endpoint(house.opencode.address(), None);
    let hash = create(&house).await;
    let seen = house.until(hash, ViewState::Running).await;
    assert_eq!(seen.landing_path.as_deref(), Some("/"));
    assert!(matches!(seen.status.phase, Phase::Running(_)));
    assert_eq!(house.opencode.prompts(), 0);
    assert!(!seen.status.first_prompt_sent);
}

#[tokio::test]
async fn a_greeting_is_tried_again_after_the_session_was_opened_without() {
    let house = House::with(ManagerSettings { deliver_timeout: Duration::ZERO, ..quick() }).await;
    house.backend.refuse(|verb| {
        (verb == Verb::Greeted).then(|| pod_manager::BackendError::Unavailable("gone".into()))
    });
    let hash = create(&house).await;
    house.until(hash, ViewState::Running).await;
    house.backend.refuse_nothing();
    house.when(hash, |view| view.status.first_prompt_sent && view.landing_path.as_deref() != Some("/")).await;
    assert_eq!(said(&house), [MESSAGE]);
}

#[tokio::test]
async fn a_session_that_ran_while_there_was_no_router_is_open_at_once() {
    let mut house = House::new().await;
    let hash = house.running("widgets").await;
    house.opencode.set_silent(true);
    house.restart(Restart::ProcessesWentOn).await;
    assert_eq!(house.manager.get(&alice(), hash).expect("it is there").state, ViewState::Running);
    assert!(house.manager.route(&alice(), hash).is_ok());
    house.opencode.set_silent(false);
    house.when(hash, |view| view.landing_path.is_some()).await;
}

#[tokio::test]
async fn of_several_routers_one_speaks_and_the_others_see_what_came_of_it() {
    let house = House::new().await;
    house.backend.set_leader(false);
    let hash = create(&house).await;
    house.when(hash, |view| view.endpoint().is_some()).await;
    let place = house.opencode.converse("Made by the other one");
    assert_eq!(house.opencode.prompts(), 0, "its message is another's to send");
    assert_eq!(house.manager.get(&alice(), hash).expect("it is there").state, ViewState::Creating);
    pod_manager::SessionBackend::mark_first_prompt_sent(&*house.backend, hash)
        .await
        .expect("the other one has sent it");
    let seen = house.until(hash, ViewState::Running).await;
    assert!(seen.landing_path.as_ref().expect("an entry").ends_with(&place));
    assert_eq!((house.opencode.prompts(), house.opencode.conversations().len()), (0, 1));
}

#[tokio::test]
async fn the_router_that_takes_over_sends_what_was_not_sent() {
    let house = House::new().await;
    house.backend.set_leader(false);
    let hash = create(&house).await;
    house.when(hash, |view| view.endpoint().is_some()).await;
    house.backend.set_leader(true);
    house.when(hash, |view| view.state == ViewState::Running && view.status.first_prompt_sent).await;
    assert_eq!(said(&house), [MESSAGE]);
}

#[tokio::test]
async fn how_long_a_run_took_to_be_opened_is_told_once() {
    let mut house = House::new().await;
    let mut openings = house.manager.ready_durations();
    house.opencode.set_silent(true);
    let hash = house.create("widgets").await.view.status.session.hash;
    house.when(hash, |view| view.endpoint().is_some()).await;
    house.clock.advance(Duration::from_secs(3));
    house.opencode.set_silent(false);
    house.until(hash, ViewState::Running).await;
    assert_eq!(openings.recv().await, Ok(Duration::from_secs(3)));
    house.restart(Restart::ProcessesWentOn).await;
    let mut openings = house.manager.ready_durations();
    house.when(hash, |view| view.landing_path.is_some()).await;
    let other = house.create("gadgets").await.view.status.session.hash;
    house.until(other, ViewState::Running).await;
    assert_eq!(openings.recv().await, Ok(Duration::ZERO), "what ran already is not counted anew");
}

#[tokio::test]
async fn a_first_message_that_was_sent_is_no_longer_in_memory() {
    let mut house = House::new().await;
    let hash = create(&house).await;
    house.when(hash, |view| view.status.first_prompt_sent).await;
    for _ in 0..2 {
        let view = house.manager.get(&alice(), hash).expect("a session");
        assert_eq!(view.status.session.initial_message, None);
        assert_eq!(view.description.as_deref(), Some("Fix the \"build\","), "its description stays");
        house.restart(Restart::ProcessesWentOn).await;
    }
    let recorded = house.backend.observed(hash).expect("a session");
    assert_eq!(recorded.session.initial_message.as_deref(), Some(MESSAGE), "the record keeps it");
}
