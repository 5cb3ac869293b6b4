//! The metrics of session starts.

use std::{sync::Arc, time::UNIX_EPOCH};

use futures_util::StreamExt as _;
use pod_manager::{
    Clock as _, Credentials, Failure, FailureCode, ManualClock, MemoryBackend, Phase, Session,
    SessionBackend as _, Source, Stage, WatchEvent,
};
use router_bin::{metrics::Metrics, start_tracker::StartTracker};
use session_key::{Identity, SessionHash};

#[tokio::test]
async fn starts_are_counted_by_outcome_with_the_duration_of_each_stage() {
    let clock = Arc::new(ManualClock::default());
    let backend = MemoryBackend::new(clock.clone());
    let (metrics, mut starts) = (Metrics::new(UNIX_EPOCH), StartTracker::default());
    let mut events = backend.watch();
    backend.hold(Stage::Cloning);
    let [good, bad] = [1, 2].map(|n| SessionHash::from_bytes([n; 6]));
    let failure = Failure {
        code: FailureCode::DiskFull,
        message: "The disk is full.".to_owned(),
        advice: "Free some space.".to_owned(),
        log_tail: None,
    };
    backend.fail_starts(bad, Some(failure));
    for hash in [good, bad] {
        let owner = Identity::parse("alice@example.org").expect("an address");
        let session =
            Session { hash, owner, source: Source::Empty, initial_message: None, created_at: clock.now() };
        backend.start(&session, Credentials::NONE).await.expect("a start");
    }
    let mut finished = 0;
    while finished < 2 {
        let event = events.next().await.expect("an event");
        starts.observe(&event, Some(&metrics));
        match &event {
            // Both starts continue after they were seen.
            WatchEvent::Snapshot(all) => {
                assert_eq!(all.len(), 2);
                backend.release(Stage::Cloning);
            }
            WatchEvent::Applied(status) => {
                finished += usize::from(matches!(status.phase, Phase::Running(_) | Phase::Failed(_)));
            }
            WatchEvent::Removed(hash) => panic!("{hash} was removed"),
        }
    }
    let text = metrics.render([("running", 1)], true, 2).expect("text");
    assert!(text.contains("opencode_router_reaps 1\n"), "{text}");
    for line in [
        "opencode_router_session_conflicts_total 2\n",
        "opencode_router_session_starts_total{outcome=\"running\"} 1",
        "opencode_router_session_starts_total{outcome=\"disk_full\"} 1",
        "opencode_router_start_stage_seconds_count{stage=\"cloning\"} 2",
        "opencode_router_start_stage_seconds_count{stage=\"starting\"} 1",
        "opencode_router_sessions{status=\"running\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
