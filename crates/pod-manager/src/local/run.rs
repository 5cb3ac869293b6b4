//! One run of a session: from the preparation of its folder to the end of opencode.

use super::{
    failure::storage_failure,
    git::{self, Git},
    log::Log,
    report::{Persist, Report, RunEnd},
    run_context::RunContext,
    serve,
};
use crate::model::Stage;

/// Runs until it is cancelled or fails; no process of it is left then.
pub(super) async fn run(context: RunContext) -> RunEnd {
    let end = match context.make_folders().await {
        Ok(log) => clone_and_serve(&context, log).await,
        Err(error) => RunEnd::Failed(storage_failure("the session's folders can't be created", &error)),
    };
    match end {
        RunEnd::Failed(mut failure) => {
            if failure.log_tail.is_none() {
                failure.log_tail = context.log_tail().await;
            }
            RunEnd::Failed(failure)
        }
        RunEnd::Cancelled => RunEnd::Cancelled,
    }
}

async fn clone_and_serve(run: &RunContext, log: Log) -> RunEnd {
    run.reporter.report(Report::Stage(Stage::Cloning)).await;
    let git = Git::new(&run.shared.settings, run.selector.clone(), run.cancel.clone())
        .reporting_to(log.clone(), run.reporter.clone());
    match git::prepare(git, &run.session, run.shared.settings.limits.fetch).await {
        Ok(prepared) => {
            if let Some(commit) = prepared.first_commit {
                run.reporter.persist(Persist::FirstCommit(commit)).await;
            }
        }
        Err(end) => return end,
    }
    run.reporter.report(Report::Stage(Stage::Starting)).await;
    serve::keep_running(run, &log).await
}
