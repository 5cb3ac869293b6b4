//! What every [`SessionBackend`](crate::SessionBackend) promises, as checks that run against any of them.
//!
//! A backend's tests implement [`Harness`] and get one test per promise:
//!
//! ```text
//! pod_manager::backend_contract!(MemoryHarness::new(Restart::ProcessesEnded));
//! ```
//!
//! The check of a broken promise panics with the events that the backend reported.

mod harness;
mod lifecycle;
mod memory_harness;
mod persistence;
mod secrets;
mod watch_probe;
mod watching;

pub use harness::{Harness, session_of};
pub use lifecycle::*;
pub use memory_harness::MemoryHarness;
pub use persistence::*;
pub use secrets::*;
pub use watch_probe::WatchProbe;
pub use watching::*;

/// Makes one `#[tokio::test]` for each promise. The expression creates a harness for each of them.
#[macro_export]
macro_rules! backend_contract {
    ($harness:expr) => {
        $crate::backend_contract! { @each $harness;
            a_start_creates_storage_and_runs_the_session
            a_start_of_a_running_session_changes_nothing
            concurrent_starts_start_once
            each_start_has_its_own_run_id
            a_cancelled_start_leaves_no_state_in_between
            a_stop_keeps_storage_and_record
            a_stop_of_a_stopped_or_absent_session_succeeds
            a_stop_cancels_a_start
            a_start_during_a_stop_runs_afterwards
            a_delete_removes_everything_and_may_be_repeated
            a_delete_cancels_a_start
            a_deleted_session_can_be_created_again
            a_failure_has_a_message_and_advice
            a_stop_of_a_failed_session_leaves_it_failed
            a_start_of_a_failed_session_tries_again
            a_delete_of_a_failed_session_removes_it
            a_session_never_has_two_runs
            the_last_of_many_commands_wins
            a_second_start_does_not_change_the_recorded_session
            the_recorded_session_survives_a_restart_unchanged
            the_last_activity_never_goes_back
            a_touch_of_an_absent_session_creates_nothing
            the_last_activity_survives_a_restart
            first_prompt_sent_survives_a_restart
            attach_tokens_survive_restarts_and_end_with_the_session
            of_simultaneous_changes_of_attach_tokens_none_is_lost
            an_absent_session_is_not_found
            secrets_are_set_and_removed_one_by_one
            concurrent_changes_of_secrets_lose_nothing
            a_replacement_of_secrets_removes_the_others
            a_secret_keeps_every_character
            secrets_belong_to_one_user
            secrets_survive_a_restart
            a_refused_change_of_secrets_changes_nothing
            a_session_that_ran_has_a_log
            the_first_event_is_a_snapshot
            every_watcher_gets_every_event
            the_stages_of_a_start_are_in_order
            a_deleted_session_is_reported_as_removed
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
