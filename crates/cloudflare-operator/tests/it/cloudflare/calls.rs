//! How many calls the operator makes. Time is virtual. `--nocapture` prints the figures.

use std::{collections::BTreeSet, time::Duration};

use cloudflare_operator::{
    cloudflare::CloudflareSync,
    testing::{Seed, StandIn},
};

use super::{hosts, in_memory, pass};

const SESSIONS: u64 = 1000;
/// Sessions and changes of the test that makes passes without a pause.
const CHURN: (u64, u64) = (50, 300);

/// Makes passes until one of them changes nothing, and returns the calls of all of them but the last.
async fn calls_of(stand_in: &StandIn, sync: &mut CloudflareSync, hosts: &BTreeSet<String>) -> u64 {
    stand_in.with(cloudflare_operator::testing::Model::reset_calls);
    let report = pass(sync, hosts).await.expect("a pass");
    assert_eq!(report.conflicts, []);
    let calls = stand_in.with(|model| model.calls().values().sum());
    assert_eq!(pass(sync, hosts).await.expect("a pass").changes, 0);
    calls
}

#[tokio::test(start_paused = true)]
async fn a_start_with_a_thousand_sessions_and_each_change_take_few_calls() {
    let stand_in = StandIn::new(Seed::default());
    let mut sync = in_memory(&stand_in);
    let all = hosts(0..SESSIONS);
    let cold = calls_of(&stand_in, &mut sync, &all).await;
    let mut sync = in_memory(&stand_in);
    let warm = calls_of(&stand_in, &mut sync, &all).await;
    let created = calls_of(&stand_in, &mut sync, &hosts(0..=SESSIONS)).await;
    let deleted = calls_of(&stand_in, &mut sync, &all).await;
    let quiet = calls_of(&stand_in, &mut sync, &all).await;
    println!(
        "calls with {SESSIONS} sessions: cold start {cold}, warm start {warm}, one created {created}, one \
         deleted {deleted}, nothing changed {quiet}"
    );
    assert_eq!((cold, warm, created, deleted, quiet), (16, 4, 5, 5, 2));
}

#[tokio::test(start_paused = true)]
async fn a_tenth_of_the_allowed_calls_is_never_reached() {
    let stand_in = StandIn::new(Seed::default());
    let mut sync = in_memory(&stand_in);
    let mut sessions: BTreeSet<u64> = (0..CHURN.0).collect();
    pass(&mut sync, &hosts(sessions.iter().copied())).await.unwrap();
    for change in 0..CHURN.1 {
        sessions.insert(CHURN.0 + change);
        sessions.remove(&change);
        // A change each second or less, and a pass after each, as fast as it may go.
        tokio::time::sleep(Duration::from_millis(change % 1000)).await;
        pass(&mut sync, &hosts(sessions.iter().copied())).await.unwrap();
    }
    let most = stand_in.with(|model| model.most_calls_in_five_minutes());
    println!("the most calls in any 5 minutes: {most}");
    assert!(most < 120, "{most}");
}
