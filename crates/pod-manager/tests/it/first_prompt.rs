//! From opencode's first answer to an open session: the landing path and the first prompt.

use std::time::Duration;

use pod_manager::{
    BackendError, Credentials, ManagerSettings, Phase, SessionBackend, Stage, ViewState, manager::Opening,
    memory::BackendCommand, memory::Restart, memory::Storing,
};
use session_key::SessionHash;

use crate::test_manager::{TestManager, alice, fast_settings, repository};

const MESSAGE: &str = "Fix the \"build\",\nplease: ümläut 🦀";

async fn create(test: &TestManager) -> SessionHash {
    let created = test
        .manager
        .create(&alice(), repository("widgets", Some(MESSAGE)), Credentials::NONE)
        .await
        .expect("create");
    created.view.status.session.hash
}

/// Returns the text of all messages.
fn messages(test: &TestManager) -> Vec<String> {
    let conversations = test.opencode.conversations().into_iter();
    conversations.flat_map(|(_, messages)| messages).flat_map(|m| m.parts).map(|(_, text)| text).collect()
}

#[tokio::test]
async fn a_session_runs_once_its_landing_path_is_known() {
    let test = TestManager::new().await;
    test.opencode.set_unresponsive(true);
    let hash = test.create("widgets").await.view.status.session.hash;
    let waiting = test.wait_for(hash, |view| view.endpoint().is_some()).await;
    assert_eq!(waiting.state, ViewState::Creating, "opencode answers, but its conversation is not open");
    let ready = waiting.stages.last().expect("a stage");
    assert_eq!((ready.stage, ready.started.is_some(), ready.ended), (Stage::Ready, true, None));
    test.opencode.set_unresponsive(false);
    let view = test.wait_state(hash, ViewState::Running).await;
    let conversation = &test.opencode.conversations()[0].0;
    // base64url of /fake/repo
    assert_eq!(
        view.landing_path.as_deref(),
        Some(format!("/L2Zha2UvcmVwbw/session/{conversation}").as_str())
    );
    assert_eq!(view.title, None, "a default name is no title");
    assert!(view.stages.last().expect("a stage").ended.is_some());
    assert_eq!(test.opencode.conversations().len(), 1, "one was created");
}

#[tokio::test]
async fn the_landing_path_follows_the_newest_conversation() {
    let test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    let newest = test.opencode.create_conversation("Fix the build");
    let view = test.wait_for(hash, |view| view.title.is_some()).await;
    assert_eq!(view.title.as_deref(), Some("Fix the build"));
    assert!(view.landing_path.as_ref().expect("a landing path").ends_with(&newest));
    test.manager.stop(&alice(), hash).await.expect("stop");
    test.wait_state(hash, ViewState::Stopped).await;
    test.manager.resume(&alice(), hash, Credentials::NONE).await.expect("resume");
    let view = test.wait_state(hash, ViewState::Running).await;
    assert!(
        view.landing_path.as_ref().expect("a landing path").ends_with(&newest),
        "no other one was created"
    );
}

#[tokio::test]
async fn the_first_prompt_is_sent_once() {
    let test = TestManager::new().await;
    let hash = create(&test).await;
    let view = test.wait_state(hash, ViewState::Running).await;
    assert!(view.busy, "the prompt is being answered");
    assert_eq!(messages(&test), [MESSAGE]);
    test.wait_for(hash, |view| view.status.first_prompt_sent).await;
    test.manager.stop(&alice(), hash).await.expect("stop");
    test.wait_state(hash, ViewState::Stopped).await;
    test.manager.resume(&alice(), hash, Credentials::NONE).await.expect("resume");
    test.wait_state(hash, ViewState::Running).await;
    assert_eq!(test.opencode.prompts(), 1);
    assert_eq!(test.backend.calls(BackendCommand::MarkFirstPromptSent, hash), 1);
}

#[tokio::test]
async fn a_router_that_crashed_between_sending_and_recording_sends_no_second_prompt() {
    for restart in [Restart::ProcessesEnded, Restart::ProcessesContinued] {
        let mut test = TestManager::new().await;
        // The prompt arrives, recording that fails, and the router crashes.
        test.backend.refuse(|command| {
            (command == BackendCommand::MarkFirstPromptSent).then(|| BackendError::Unavailable("gone".into()))
        });
        let hash = create(&test).await;
        test.eventually("the prompt is sent", || test.opencode.prompts() > 0).await;
        // Meanwhile the user works in another conversation.
        test.opencode.create_conversation("Another matter");
        test.backend.refuse_nothing();
        test.restart(restart).await;
        if restart == Restart::ProcessesEnded {
            test.manager.resume(&alice(), hash, Credentials::NONE).await.expect("resume");
        }
        test.wait_for(hash, |view| view.state == ViewState::Running && view.status.first_prompt_sent).await;
        assert_eq!(messages(&test), [MESSAGE], "opencode has the prompt once");
    }
}

#[tokio::test]
async fn a_session_is_not_open_before_its_first_prompt_is_stored() {
    for storing in [Storing::Nothing, Storing::Message] {
        let test = TestManager::new().await;
        test.opencode.set_storing(storing);
        let hash = create(&test).await;
        test.eventually("opencode is asked for the prompt", || test.opencode.message_requests() >= 3).await;
        let view = test.view(hash);
        assert_eq!((view.state, view.status.first_prompt_sent), (ViewState::Creating, false), "{storing:?}");
        assert!(test.manager.route(&alice(), hash).is_err(), "{storing:?}");
        test.opencode.set_storing(Storing::All);
        test.wait_for(hash, |view| view.state == ViewState::Running && view.status.first_prompt_sent).await;
        assert_eq!((messages(&test), test.opencode.prompts()), (vec![MESSAGE.to_owned()], 1), "{storing:?}");
    }
}

#[tokio::test]
async fn a_session_is_opened_though_its_first_prompt_is_never_stored() {
    let test =
        TestManager::with(ManagerSettings { store_timeout: Duration::from_millis(30), ..fast_settings() })
            .await;
    test.opencode.set_storing(Storing::Nothing);
    let hash = create(&test).await;
    let view = test.wait_state(hash, ViewState::Running).await;
    assert_ne!(view.landing_path.as_deref(), Some("/"), "its conversation is shown");
    assert_eq!(test.opencode.prompts(), 1);
}

#[tokio::test]
async fn a_prompt_whose_answer_was_lost_is_in_a_conversation_once() {
    let test = TestManager::new().await;
    test.opencode.drop_prompt_responses(true);
    let hash = create(&test).await;
    test.eventually("the prompt is sent again", || test.opencode.prompts() >= 2).await;
    test.opencode.drop_prompt_responses(false);
    test.wait_for(hash, |view| view.status.first_prompt_sent).await;
    assert_eq!(messages(&test), [MESSAGE]);
}

#[tokio::test]
async fn a_late_first_prompt_goes_into_an_empty_conversation() {
    let test = TestManager::new().await;
    test.opencode.set_unresponsive(true);
    let hash = create(&test).await;
    test.wait_for(hash, |view| view.endpoint().is_some()).await;
    test.opencode.create_conversation("Made elsewhere");
    test.opencode.set_unresponsive(false);
    test.wait_for(hash, |view| view.status.first_prompt_sent).await;
    let conversations = test.opencode.conversations();
    assert_eq!(conversations.len(), 1, "the empty one is used");
    assert_eq!(conversations[0].1.len(), 1);
}

#[tokio::test]
async fn a_session_is_opened_without_a_first_prompt_that_cannot_be_delivered() {
    let test =
        TestManager::with(ManagerSettings { deliver_timeout: Duration::from_millis(30), ..fast_settings() })
            .await;
    test.backend.set_endpoint(test.opencode.address(), None);
    let hash = create(&test).await;
    let view = test.wait_state(hash, ViewState::Running).await;
    assert_eq!(view.landing_path.as_deref(), Some("/"));
    assert!(matches!(view.status.phase, Phase::Running(_)));
    assert_eq!(test.opencode.prompts(), 0);
    assert!(!view.status.first_prompt_sent);
}

#[tokio::test]
async fn delivery_is_retried_after_the_session_was_opened_without_it() {
    let test =
        TestManager::with(ManagerSettings { deliver_timeout: Duration::ZERO, ..fast_settings() }).await;
    test.backend.refuse(|command| {
        (command == BackendCommand::MarkFirstPromptSent).then(|| BackendError::Unavailable("gone".into()))
    });
    let hash = create(&test).await;
    test.wait_state(hash, ViewState::Running).await;
    test.backend.refuse_nothing();
    test.wait_for(hash, |view| view.status.first_prompt_sent && view.landing_path.as_deref() != Some("/"))
        .await;
    assert_eq!(messages(&test), [MESSAGE]);
}

#[tokio::test]
async fn a_session_that_ran_before_the_router_is_open_at_once() {
    let mut test = TestManager::new().await;
    let hash = test.create_running("widgets").await;
    test.opencode.set_unresponsive(true);
    test.restart(Restart::ProcessesContinued).await;
    assert_eq!(test.state(hash), ViewState::Running);
    assert!(test.manager.route(&alice(), hash).is_ok());
    test.opencode.set_unresponsive(false);
    test.wait_for(hash, |view| view.landing_path.is_some()).await;
}

#[tokio::test]
async fn only_the_leader_sends_the_first_prompt() {
    let test = TestManager::new().await;
    test.backend.set_leader(false);
    let hash = create(&test).await;
    test.wait_for(hash, |view| view.endpoint().is_some()).await;
    let conversation = test.opencode.create_conversation("Made by the leader");
    assert_eq!(test.opencode.prompts(), 0, "the leader sends the prompt");
    assert_eq!(test.state(hash), ViewState::Creating);
    SessionBackend::mark_first_prompt_sent(&*test.backend, hash).await.expect("the leader has sent it");
    let view = test.wait_state(hash, ViewState::Running).await;
    assert!(view.landing_path.as_ref().expect("a landing path").ends_with(&conversation));
    assert_eq!((test.opencode.prompts(), test.opencode.conversations().len()), (0, 1));
}

#[tokio::test]
async fn a_new_leader_sends_a_first_prompt_that_was_not_sent() {
    let test = TestManager::new().await;
    test.backend.set_leader(false);
    let hash = create(&test).await;
    test.wait_for(hash, |view| view.endpoint().is_some()).await;
    test.backend.set_leader(true);
    test.wait_for(hash, |view| view.state == ViewState::Running && view.status.first_prompt_sent).await;
    assert_eq!(messages(&test), [MESSAGE]);
}

#[tokio::test]
async fn the_opening_of_a_run_is_reported_once() {
    let mut test = TestManager::new().await;
    let mut openings = test.manager.openings();
    test.opencode.set_unresponsive(true);
    let hash = test.create("widgets").await.view.status.session.hash;
    test.wait_for(hash, |view| view.endpoint().is_some()).await;
    test.clock.advance(Duration::from_secs(3));
    test.opencode.set_unresponsive(false);
    test.wait_state(hash, ViewState::Running).await;
    let opening = Opening { hash, duration: Duration::from_secs(3), sent_prompt: false };
    assert_eq!(openings.recv().await, Ok(opening));
    test.restart(Restart::ProcessesContinued).await;
    let mut openings = test.manager.openings();
    test.wait_for(hash, |view| view.landing_path.is_some()).await;
    let other = test.create("gadgets").await.view.status.session.hash;
    test.wait_state(other, ViewState::Running).await;
    let opening = Opening { hash: other, duration: Duration::ZERO, sent_prompt: false };
    assert_eq!(openings.recv().await, Ok(opening), "a run that was open before is not reported");
}

#[tokio::test]
async fn a_first_prompt_that_was_sent_is_not_kept_in_memory() {
    let mut test = TestManager::new().await;
    let hash = create(&test).await;
    test.wait_for(hash, |view| view.status.first_prompt_sent).await;
    for _ in 0..2 {
        let view = test.view(hash);
        assert_eq!(view.status.session.initial_message, None);
        assert_eq!(view.description.as_deref(), Some("Fix the \"build\","), "its description stays");
        test.restart(Restart::ProcessesContinued).await;
    }
    let recorded = test.backend.status(hash).expect("a session");
    assert_eq!(recorded.session.initial_message.as_deref(), Some(MESSAGE), "the record keeps it");
}
