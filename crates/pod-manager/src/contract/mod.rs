//! What every [`SessionBackend`] promises, as checks that run against any of them.
//!
//! A backend's tests say how it is made ([`Harness`]) and get one test per promise:
//!
//! ```text
//! pod_manager::backend_contract!(MemoryHarness::new());
//! ```
//!
//! A promise that is not kept panics with what was seen instead.

mod eye;
mod lifecycle;
mod memory;
mod record;
mod told;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};

use crate::{
    backend::SessionBackend,
    model::{Session, Source},
};
pub use eye::Eye;
pub use lifecycle::*;
pub use memory::MemoryHarness;
pub use record::*;
pub use told::*;

/// How one backend is put to the test. Each promise gets a harness of its own: one empty storage.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// Opens a backend on the harness's storage; called once, and then by [`restart`](Harness::restart).
    async fn open(&self) -> Arc<dyn SessionBackend>;

    /// Ends the backend as the router's end would, and opens another one on the same storage.
    async fn restart(&self, backend: Arc<dyn SessionBackend>) -> Arc<dyn SessionBackend> {
        backend.shutdown().await;
        drop(backend);
        self.open().await
    }

    /// A session that can be started; another one with each call. Its times are whole milliseconds.
    async fn startable(&self) -> Session;

    /// A session whose start fails until it is [repaired](Harness::repair).
    async fn failing(&self) -> Session;

    /// Makes the [failing](Harness::failing) session one that can be started.
    async fn repair(&self, session: &Session);

    /// How many processes work on the session's storage at this moment, counted from outside; `None` where
    /// that can't be told.
    async fn processes(&self, hash: SessionHash) -> Option<usize>;

    /// Whether anything of the session is still stored, looked at from outside.
    async fn stored(&self, hash: SessionHash) -> bool;

    /// How long a promise waits for what must come.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// How many changes a watcher may leave unread at most before it must get a snapshot instead;
    /// `None` where so many changes can't be made in a test.
    fn unread_changes(&self) -> Option<usize> {
        None
    }
}

/// A session of `url`, on a branch that no other call gives; for harnesses.
///
/// # Panics
/// Where `url` is no address of a repository.
#[must_use]
pub fn session_of(url: &str, policy: RepoPolicy) -> Session {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let owner = Identity::parse("alice@example.com").expect("an address");
    let url = RepoUrl::parse(url, policy).expect("the harness gives a repository");
    let branch = GitRef::parse(&format!("work/{count}")).expect("a branch");
    Session {
        hash: SessionHash::of(&owner, &url, &branch),
        owner,
        source: Source::Repository { url, branch, from: None },
        initial_message: Some(format!("Say \"hello\",\nthen: {count} – ümläut 🦀 $HOME `id`")),
        created_at: moment(1_790_000_000) + Duration::from_millis(count),
    }
}

/// So many seconds after 1970 began.
pub(crate) fn moment(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Makes one `#[tokio::test]` per promise, each with a harness of its own from the expression given.
#[macro_export]
macro_rules! backend_contract {
    ($harness:expr) => {
        $crate::backend_contract! { @each $harness;
            starting_what_is_not_there_makes_and_runs_it
            starting_what_runs_changes_nothing
            starting_twice_at_once_starts_once
            another_start_is_another_run
            a_dropped_start_leaves_nothing_between
            stopping_keeps_the_storage_and_the_record
            stopping_what_is_stopped_or_not_there_is_success
            stopping_during_a_start_ends_stopped
            starting_while_stopping_starts_after_it_has_stopped
            deleting_removes_everything_and_again_is_success
            deleting_during_a_start_removes_everything
            what_was_deleted_can_be_made_anew
            a_failed_start_says_what_happened_and_what_to_do
            stopping_what_failed_leaves_it_failed
            starting_what_failed_tries_again
            deleting_what_failed_removes_it
            two_runs_never_exist_at_once
            a_storm_of_verbs_ends_in_what_was_asked_last
            the_recorded_session_is_not_changed_by_another_start
            the_recorded_session_survives_a_restart_to_the_letter
            a_touch_never_goes_back
            a_touch_of_nothing_makes_nothing
            the_last_activity_survives_a_restart
            greeted_survives_a_restart
            what_is_not_there_has_no_log_no_work_and_no_greeting
            a_session_that_ran_has_a_log
            the_first_observation_is_a_snapshot_of_all
            every_watcher_is_told
            a_start_is_told_in_order
            a_removed_session_is_told_as_removed
            a_slow_watcher_gets_a_snapshot
        }
    };
    (@each $harness:expr; $($promise:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let harness = $harness;
                $crate::contract::$promise(&harness).await;
            }
        )*
    };
}
