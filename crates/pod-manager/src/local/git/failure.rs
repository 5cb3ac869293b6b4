use std::io;

use super::{Git, Output};
use crate::{
    git_output::{classify, last_error},
    model::{Failure, FailureCode},
};

impl Git {
    /// What a clone that did not succeed means, for a person.
    pub(super) fn clone_failure(&self, output: &Output) -> Failure {
        let said = output.said.join("\n");
        let code = classify(&said).unwrap_or(FailureCode::CloneFailed);
        let last = last_error(&output.said);
        let (message, advice) = match code {
            FailureCode::DiskFull => return disk_full(Some(said)),
            FailureCode::RepositoryNotFound => (
                "The remote knows no such repository, or does not show it to you.".to_owned(),
                "Check the address, and that you have access to it.",
            ),
            FailureCode::AuthenticationFailed if said.contains("Host key verification failed") => (
                "The remote's ssh key is not known on this machine.".to_owned(),
                "Connect to it once by hand with ssh and accept its key, then try again.",
            ),
            FailureCode::AuthenticationFailed => (
                "The remote wants a sign-in that git does not have (some say so too where there is no such \
                 repository)."
                    .to_owned(),
                match self.own_machine {
                    true => {
                        "Check the address; then set up a git credential helper or an ssh key that needs no \
                         question, so that `git clone` works by itself in a terminal, and try again."
                    }
                    false => "Check the address, and that you have access to it.",
                },
            ),
            FailureCode::NetworkUnreachable => (
                format!("The remote could not be reached: {last}."),
                "Check the address and this machine's network, then try again.",
            ),
            _ => (
                format!("git could not clone the repository: {last}."),
                "The end of the log says more; try again once that is mended.",
            ),
        };
        Failure { code, message, advice: advice.to_owned(), log_tail: tail(said) }
    }

    /// What a checkout that did not succeed means, for a person.
    pub(super) fn checkout_failure(&self, branch: &str, output: &Output) -> Failure {
        let said = output.said.join("\n");
        if classify(&said) == Some(FailureCode::DiskFull) {
            return disk_full(Some(said));
        }
        Failure {
            code: FailureCode::CheckoutFailed,
            message: format!("git could not check out {branch}: {}.", last_error(&output.said)),
            advice: "The end of the log says more; try again once that is mended.".to_owned(),
            log_tail: tail(said),
        }
    }

    /// The program itself could not be started.
    pub(super) fn not_started(&self, error: &io::Error) -> Failure {
        if error.kind() != io::ErrorKind::NotFound && error.kind() != io::ErrorKind::PermissionDenied {
            return storage_failure("git could not be started", error);
        }
        Failure {
            code: FailureCode::CloneFailed,
            message: format!("The program {} could not be started: {error}.", self.program.display()),
            advice: "Install git, and start the router with it in its PATH.".to_owned(),
            log_tail: None,
        }
    }
}

/// Something of the machine's own failed.
pub(in super::super) fn storage_failure(what: &str, error: &io::Error) -> Failure {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return disk_full(None);
    }
    Failure {
        code: FailureCode::BackendError,
        message: format!("The session's files can't be used: {what}: {error}."),
        advice: "Look at the folder where sessions are kept, and at the router's log; then try again."
            .to_owned(),
        log_tail: None,
    }
}

/// There is no space left.
pub(in super::super) fn disk_full(log_tail: Option<String>) -> Failure {
    Failure {
        code: FailureCode::DiskFull,
        message: "No space is left where sessions are kept.".to_owned(),
        advice: "Delete sessions that are no longer needed, or make space on that disk; then try again."
            .to_owned(),
        log_tail: log_tail.and_then(tail),
    }
}

fn tail(said: String) -> Option<String> {
    (!said.trim().is_empty()).then_some(said)
}
