//! What is written down about requests and sessions: the audit's key, and the counters.

use std::{os::unix::fs::PermissionsExt as _, sync::Arc, time::UNIX_EPOCH};

use futures_util::StreamExt as _;
use pod_manager::{
    Clock as _, Credentials, Failure, FailureCode, ManualClock, MemoryBackend, Phase, Session,
    SessionBackend as _, Source, Stage,
};
use router_bin::{
    logging::Audit,
    metrics::{Metrics, Starts},
};
use session_key::{Identity, SessionHash};

#[test]
fn a_users_digest_stays_the_same_in_one_folder_and_is_another_elsewhere() {
    let (here, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let digest = |folder: &tempfile::TempDir, who: &str| {
        Audit::open(folder.path()).expect("a key").digest(&Identity::parse(who).expect("an address"))
    };
    let ada = digest(&here, "ada@example.org");
    assert_eq!(ada, digest(&here, "Ada@Example.org"));
    assert_ne!(ada, digest(&here, "bob@example.org"));
    assert_ne!(ada, digest(&elsewhere, "ada@example.org"));
    // Nobody who knows the address can compute it.
    assert_ne!(ada, Identity::parse("ada@example.org").expect("an address").digest());
    let key = here.path().join("audit-key").metadata().expect("a key");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    assert!(!format!("{:?}", Audit::open(here.path())).contains('['), "the key is shown nowhere");
}

#[tokio::test]
async fn starts_are_counted_by_how_they_ended_with_the_time_of_each_stage() {
    let clock = Arc::new(ManualClock::default());
    let backend = MemoryBackend::new(clock.clone());
    let (metrics, mut starts) = (Metrics::new(UNIX_EPOCH), Starts::default());
    let mut seen = backend.watch();
    backend.hold(Stage::Cloning);
    let [good, bad] = [1, 2].map(|n| SessionHash::from_bytes([n; 6]));
    let failure = Failure {
        code: FailureCode::DiskFull,
        message: "There is no space left.".to_owned(),
        advice: "Make some.".to_owned(),
        log_tail: None,
    };
    backend.fail_starts(bad, Some(failure));
    for hash in [good, bad] {
        let owner = Identity::parse("ada@example.org").expect("an address");
        let session =
            Session { hash, owner, source: Source::Empty, initial_message: None, created_at: clock.now() };
        backend.start(&session, Credentials::NONE).await.expect("accepted");
    }
    let mut over = 0;
    while over < 2 {
        let observation = seen.next().await.expect("more");
        starts.observe(&observation, Some(&metrics));
        match &observation {
            // From here on both are seen as they go on.
            pod_manager::WatchEvent::Snapshot(all) => {
                assert_eq!(all.len(), 2);
                backend.release(Stage::Cloning);
            }
            pod_manager::WatchEvent::Applied(one) => {
                over += usize::from(matches!(one.phase, Phase::Running(_) | Phase::Failed(_)));
            }
            pod_manager::WatchEvent::Removed(hash) => panic!("{hash} is gone"),
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
