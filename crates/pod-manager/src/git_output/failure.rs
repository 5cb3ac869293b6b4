//! What a clone or a checkout that failed means for a person: one table of sentences for both backends.

use super::classify::{classify, last_error};
use crate::model::{Failure, FailureCode};

/// The machine that git runs on, which decides what a person can do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// The machine of a single user.
    #[cfg(all(feature = "local", unix))]
    SingleUser,
    /// A machine that users share.
    #[cfg(all(feature = "local", unix))]
    Shared,
    /// A Pod of a cluster.
    #[cfg(feature = "kubernetes")]
    Pod,
}

impl Machine {
    fn is_single_user(self) -> bool {
        #[cfg(all(feature = "local", unix))]
        return self == Self::SingleUser;
        #[cfg(not(all(feature = "local", unix)))]
        return false;
    }

    fn is_pod(self) -> bool {
        #[cfg(feature = "kubernetes")]
        return self == Self::Pod;
        #[cfg(not(feature = "kubernetes"))]
        return false;
    }
}

/// Explains a clone that failed, from the lines that git printed.
pub(crate) fn clone_failure(lines: &[String], machine: Machine) -> Failure {
    let output = lines.join("\n");
    let code = classify(&output).unwrap_or(FailureCode::CloneFailed);
    let (single_user, pod) = (machine.is_single_user(), machine.is_pod());
    let (message, advice) = match code {
        FailureCode::DiskFull => return disk_full(Some(output), machine),
        FailureCode::RepositoryNotFound if single_user => (
            "Repository not found, or you don't have access to it.".to_owned(),
            "Check the address; for a private repository, set up a git credential helper or an SSH key.",
        ),
        FailureCode::RepositoryNotFound => (
            "Repository not found, or you don't have access to it.".to_owned(),
            "Check the address; for a private repository, sign in with GitHub.",
        ),
        FailureCode::AuthenticationFailed if output.contains("Host key verification failed") => (
            "The SSH key of the repository's host is not known on this machine.".to_owned(),
            "Connect to the host once with ssh and accept its key, then try again.",
        ),
        FailureCode::AuthenticationFailed => (
            "The repository's host requires a sign-in. Some hosts answer the same if a repository does not \
             exist."
                .to_owned(),
            match single_user {
                true => {
                    "Check the address. Then set up a git credential helper or an SSH key that needs no \
                     passphrase, so that `git clone` works in a terminal without a question, and try again."
                }
                false => "Check the address; for a private repository, sign in with GitHub again.",
            },
        ),
        FailureCode::NetworkUnreachable => (
            format!("The repository's host is unreachable: {}.", last_error(lines)),
            match pod {
                true => {
                    "Check the address, and that the cluster's Pods can reach it; then resume the session."
                }
                false => "Check the address and this machine's network, then try again.",
            },
        ),
        _ => (
            format!("Cloning failed: {}.", last_error(lines)),
            "Read the end of the log, fix the cause, then try again.",
        ),
    };
    Failure { code, message, advice: advice.to_owned(), log_tail: tail(output) }
}

/// Explains a checkout that failed, from the lines that git printed.
#[cfg(all(feature = "local", unix))]
pub(crate) fn checkout_failure(branch: &str, lines: &[String], machine: Machine) -> Failure {
    let output = lines.join("\n");
    if classify(&output) == Some(FailureCode::DiskFull) {
        return disk_full(Some(output), machine);
    }
    Failure {
        code: FailureCode::CheckoutFailed,
        message: format!("Checking out {branch} failed: {}.", last_error(lines)),
        advice: "Read the end of the log, fix the cause, then try again.".to_owned(),
        log_tail: tail(output),
    }
}

/// Explains that the branch to begin from does not exist; without a name, the remote has no default branch.
pub(crate) fn branch_not_found(source: Option<&str>) -> Failure {
    let (message, advice) = match source {
        Some(source) => (
            format!("The repository has no branch {source} to create the session's branch from."),
            "Create the session again from a branch that exists.",
        ),
        None => (
            "The repository has no default branch.".to_owned(),
            "Create the session again, and name the branch to start from.",
        ),
    };
    Failure { code: FailureCode::BranchNotFound, message, advice: advice.to_owned(), log_tail: None }
}

/// Explains that no space is left for the session.
pub(crate) fn disk_full(output: Option<String>, machine: Machine) -> Failure {
    let (message, advice) = match machine.is_pod() {
        true => (
            "No space is left on the session's volume.",
            "Raise STORAGE_SIZE for new sessions, or grow this session's PersistentVolumeClaim.",
        ),
        false => (
            "No space is left where sessions are stored.",
            "Delete sessions that are no longer needed, or free space on that disk; then try again.",
        ),
    };
    Failure {
        code: FailureCode::DiskFull,
        message: message.to_owned(),
        advice: advice.to_owned(),
        log_tail: output.and_then(tail),
    }
}

fn tail(output: String) -> Option<String> {
    (!output.trim().is_empty()).then_some(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINES: &[Machine] = &[
        #[cfg(all(feature = "local", unix))]
        Machine::SingleUser,
        #[cfg(all(feature = "local", unix))]
        Machine::Shared,
        #[cfg(feature = "kubernetes")]
        Machine::Pod,
    ];

    #[test]
    fn failures_are_whole_sentences_with_advice_everywhere() {
        for machine in MACHINES {
            for (output, code) in [
                ("fatal: repository 'https://x/y/' not found", FailureCode::RepositoryNotFound),
                ("Host key verification failed.", FailureCode::AuthenticationFailed),
                ("fatal: Authentication failed for 'https://x/'", FailureCode::AuthenticationFailed),
                ("fatal: Could not resolve host: x", FailureCode::NetworkUnreachable),
                ("error: file write error: No space left on device", FailureCode::DiskFull),
                ("fatal: index file corrupt", FailureCode::CloneFailed),
            ] {
                let failure = clone_failure(&[output.to_owned()], *machine);
                assert_eq!(failure.code, code, "{output}");
                assert!(failure.message.ends_with('.') && !failure.message.ends_with(".."), "{failure:?}");
                assert!(failure.advice.ends_with('.'), "{failure:?}");
                assert_eq!(failure.log_tail.as_deref(), Some(output));
            }
        }
    }

    #[test]
    fn a_missing_branch_is_named() {
        assert!(branch_not_found(Some("dev")).message.contains("no branch dev"));
        assert!(branch_not_found(None).message.contains("no default branch"));
    }
}
