//! What the log of a container that failed adds to what the cluster says.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use session_key::SessionHash;
use tokio::time::sleep;

use super::{context::Context, status::fields::container};
use crate::{
    git_output::{classify, last_error, redact_urls, strip_control},
    model::{Failure, FailureCode},
};

/// How many lines of the log a failure holds, and how many bytes at most: it is kept in an annotation.
const TAIL_LINES: usize = 30;
const TAIL_BYTES: usize = 8 * 1024;
/// How often a log is read until it tells why git failed, and the pause between.
const MAX_LOG_READS: usize = 4;
const PAUSE: Duration = Duration::from_millis(400);

/// The failure, with the last lines of what failed and, where git failed, with what they mean.
pub(super) async fn with_log(
    ctx: &Context,
    hash: SessionHash,
    pod: Option<&Pod>,
    mut failure: Failure,
) -> Failure {
    let Some(pod) = pod else { return failure };
    let cloned = container(pod, "git-init").is_some_and(|init| {
        init.state.as_ref().and_then(|state| state.terminated.as_ref()).is_some_and(|end| end.exit_code == 0)
    });
    let name = if cloned { "opencode" } else { "git-init" };
    let mut said = String::new();
    for _ in 0..MAX_LOG_READS {
        // kubelet starts what ended again, maybe just now: where there is one before the present one, after that was read,
        // it is the one that failed.
        let now = ctx.api.log(hash, name, false, TAIL_LINES).await.unwrap_or_default();
        let before = ctx.api.log(hash, name, true, TAIL_LINES).await.unwrap_or_default();
        said = of_the_failure([clean(&before), clean(&now)]);
        if failure.code != FailureCode::CloneFailed || tells_why(&said) {
            break;
        }
        // The last words are written down a little after the end.
        sleep(PAUSE).await;
    }
    if said.is_empty() {
        return failure;
    }
    if failure.code == FailureCode::CloneFailed {
        explain(&mut failure, &said);
    }
    failure.log_tail = Some(said);
    failure
}

/// Of two logs, the better first, the one that tells of the failure.
fn of_the_failure(logs: [String; 2]) -> String {
    // kubelet's own words where it has none.
    let is_log = |log: &String| !log.is_empty() && !log.starts_with("unable to retrieve container logs");
    let logs: Vec<_> = logs.into_iter().filter(is_log).collect();
    let best = logs.iter().position(|log| tells_why(log)).unwrap_or_default();
    logs.into_iter().nth(best).unwrap_or_default()
}

fn tells_why(log: &str) -> bool {
    log.contains("fatal:") || log.contains("error:") || log.contains("opencode-router: ")
}

/// Without control sequences, progress and credentials.
pub(super) fn readable(log: &str) -> String {
    let text = strip_control(log);
    let lines = text.lines().filter(|line| crate::git_output::parse_progress(line).is_none());
    lines.map(redact_urls).collect::<Vec<_>>().join("\n")
}

/// The end of it, readable.
fn clean(log: &str) -> String {
    let mut text = readable(log);
    if text.len() > TAIL_BYTES {
        let from = (text.len() - TAIL_BYTES..).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        text.drain(..from);
    }
    text.trim().to_owned()
}

/// The container whose log tells what goes on, and whether it is the one before its last start that does.
pub(super) fn log_source(pod: &Pod) -> (&'static str, bool) {
    let opencode = container(pod, "opencode");
    let began = opencode
        .and_then(|container| container.state.as_ref())
        .is_some_and(|state| state.running.is_some() || state.terminated.is_some());
    let restarted = opencode.is_some_and(|container| container.restart_count > 0);
    (if began || restarted { "opencode" } else { "git-init" }, restarted && !began)
}

pub(super) fn last_lines(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn explain(failure: &mut Failure, said: &str) {
    if said.contains("opencode-router: branch_not_found") {
        failure.code = FailureCode::BranchNotFound;
        failure.message =
            "The repository does not have the branch from which the session's branch was to be created."
                .into();
        failure.advice = "Create the session again from a branch that is there.".into();
        return;
    }
    let lines: Vec<_> = said.lines().map(str::to_owned).collect();
    let last = last_error(&lines);
    let Some(code) = classify(said) else {
        failure.message = format!("git could not bring the repository: {last}.");
        return;
    };
    failure.code = code;
    (failure.message, failure.advice) = match code {
        FailureCode::DiskFull => (
            "No space is left on the session's volume.".to_owned(),
            "Raise STORAGE_SIZE for new sessions, or grow this session's PersistentVolumeClaim.".to_owned(),
        ),
        FailureCode::RepositoryNotFound => (
            "The remote knows no such repository, or does not show it to you.".to_owned(),
            "Check the address, and that you have access to it.".to_owned(),
        ),
        FailureCode::AuthenticationFailed => (
            "The remote wants a sign-in that the session does not have (some say so too where there is no such repository).".to_owned(),
            "Check the address, and that you have access to it; signing in anew brings a fresh token.".to_owned(),
        ),
        _ => (
            format!("The remote could not be reached: {last}."),
            "Check the address, and that the cluster's Pods can reach it; then resume the session.".to_owned(),
        ),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_said_in_the_init_container_is_understood() {
        #[track_caller]
        fn check(said: &str, expected: FailureCode) {
            let mut failure = Failure {
                code: FailureCode::CloneFailed,
                message: "git could not bring the repository (exit code 128).".into(),
                advice: "try".into(),
                log_tail: None,
            };
            explain(&mut failure, &clean(said));
            assert_eq!(failure.code, expected, "{said}");
            assert!(
                failure.message.ends_with('.') && failure.advice.ends_with('.') || failure.advice == "try"
            );
        }
        check(
            "Cloning into 'x'...\nfatal: repository 'https://x/y/' not found",
            FailureCode::RepositoryNotFound,
        );
        check("opencode-router: branch_not_found", FailureCode::BranchNotFound);
        check(
            "fatal: unable to access 'https://x/': Could not resolve host: x",
            FailureCode::NetworkUnreachable,
        );
        check("error: file write error: No space left on device", FailureCode::DiskFull);
        check("fatal: index file corrupt", FailureCode::CloneFailed);
    }

    #[test]
    fn the_log_of_the_attempt_that_failed_is_told_and_not_of_the_one_after_it() {
        let check = |before: &str, now: &str, expected: &str| {
            assert_eq!(of_the_failure([before.to_owned(), now.to_owned()]), expected);
        };
        check("Cloning\nfatal: not found", "Cloning", "Cloning\nfatal: not found");
        check("", "Cloning\nfatal: not found", "Cloning\nfatal: not found");
        check("unable to retrieve container logs for containerd://1", "fatal: x", "fatal: x");
        check("Cloning", "Cloning\nfatal: not found", "Cloning\nfatal: not found");
        check("Cloning", "Resolving", "Cloning");
        check("", "", "");
    }

    #[test]
    fn a_tail_is_of_bounded_size_and_holds_no_credentials() {
        assert_eq!(clean("fatal: 'https://me:secret@h/r'\u{1b}[0m\n"), "fatal: 'https://***@h/r'");
        assert_eq!(
            clean("Receiving objects:  50% (1/2)\rReceiving objects: 100% (2/2)\rfatal: x"),
            "fatal: x"
        );
        assert!(clean(&"ü".repeat(TAIL_BYTES)).len() <= TAIL_BYTES);
    }
}
