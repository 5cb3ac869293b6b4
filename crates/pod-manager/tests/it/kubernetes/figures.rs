//! Figures, not promises: `cargo test --release -p pod-manager --all-features --test it kubernetes::figures
//! -- --ignored --nocapture`

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use pod_manager::{
    SessionBackend, WatchEvent,
    contract::WatchProbe,
    model::{Phase, Source},
};
use session_key::{GitRef, SessionHash};

use super::contract::TestCluster;

const SESSIONS: usize = 2000;

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures, for minutes"]
async fn two_thousand_sessions() {
    let Some(test) = TestCluster::new().await else { return };
    let maker = test.backend();
    let mut probe = WatchProbe::new(&*maker, Duration::from_secs(600));
    probe.next().await;
    let begun = Instant::now();
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|number| {
            let mut session = test.session();
            let Source::Repository { url, branch, .. } = &mut session.source else { unreachable!() };
            *branch = GitRef::parse(&format!("many/{number}")).expect("a branch");
            session.hash = SessionHash::of(&session.owner, url, branch);
            session
        })
        .collect();
    stream::iter(&sessions)
        .for_each_concurrent(8, |session| async {
            maker.start(session, pod_manager::Credentials::NONE).await.expect("start");
        })
        .await;
    for session in &sessions {
        probe.wait_running(session.hash).await;
    }
    println!("{SESSIONS} sessions made and running after {:.1} s", begun.elapsed().as_secs_f64());
    drop(probe);
    maker.shutdown().await;
    drop(maker);

    let before = resident_mib();
    let begun = Instant::now();
    let backend = test.backend();
    let mut news = backend.watch();
    let Some(WatchEvent::Snapshot(all)) = news.next().await else { panic!("no snapshot") };
    let running = all.iter().filter(|seen| matches!(seen.phase, Phase::Running(_))).count();
    println!(
        "begin to first snapshot {:.2} s ({} sessions, {running} of them seen to answer)",
        begun.elapsed().as_secs_f64(),
        all.len()
    );
    let mut probe = WatchProbe::new(&*backend, Duration::from_secs(600));
    for session in &sessions {
        probe.wait_running(session.hash).await;
    }
    println!("all of them seen to answer after {:.2} s", begun.elapsed().as_secs_f64());
    println!("resident memory: {:.0} MiB more than before", resident_mib() - before);
    let begun = Instant::now();
    for _ in 0..100 {
        let Some(WatchEvent::Snapshot(all)) = backend.watch().next().await else { panic!("no snapshot") };
        assert_eq!(all.len(), SESSIONS);
    }
    println!("a snapshot of all {:.2} ms", begun.elapsed().as_secs_f64() * 10.0);
    backend.shutdown().await;
}
