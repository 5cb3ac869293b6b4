//! Why a session fails on this machine, in sentences for its user.

use std::{io, path::Path};

use super::config::Limits;
use crate::{
    git_output::{self, Machine},
    model::{Failure, FailureCode},
};

/// Output of opencode on a full disk, in lower case.
const NO_SPACE: [&str; 3] = ["no space left on device", "enospc", "database or disk is full"];

/// Explains that the machine's files or processes can't be used.
pub(super) fn storage_failure(problem: &str, error: &io::Error) -> Failure {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        return disk_full(None);
    }
    Failure {
        code: FailureCode::BackendError,
        message: format!("The session's files can't be used: {problem}: {error}."),
        advice: "Check the folder where sessions are stored, and the router's log; then try again."
            .to_owned(),
        log_tail: None,
    }
}

/// Explains that the owner's secrets can't be read.
pub(super) fn secrets_unreadable(error: &io::Error) -> Failure {
    Failure {
        advice: "Delete all of your secrets in the settings, set them again, and start the session again."
            .to_owned(),
        ..storage_failure("your secrets can't be read", error)
    }
}

/// Explains that the router itself failed.
pub(super) fn router_error() -> Failure {
    Failure {
        code: FailureCode::BackendError,
        message: "The router failed while it worked on the session.".to_owned(),
        advice: "Start the session again, and report this with the router's log.".to_owned(),
        log_tail: None,
    }
}

/// Explains that the git program can't be started.
pub(super) fn git_not_started(program: &Path, error: &io::Error) -> Failure {
    if error.kind() != io::ErrorKind::NotFound && error.kind() != io::ErrorKind::PermissionDenied {
        return storage_failure("git can't be started", error);
    }
    Failure {
        code: FailureCode::CloneFailed,
        message: format!("The program {} can't be started: {error}.", program.display()),
        advice: "Install git, and start the router with git in its PATH.".to_owned(),
        log_tail: None,
    }
}

/// Explains that opencode ended too often.
pub(super) fn opencode_crashed(cause: &str, killed: bool, starts: u32, log_tail: Option<String>) -> Failure {
    if let Some(tail) = &log_tail {
        let tail = tail.to_lowercase();
        if NO_SPACE.iter().any(|text| tail.contains(text)) {
            return disk_full(log_tail);
        }
    }
    let advice = match killed {
        true => {
            "The machine has probably run out of memory: stop other sessions or programs, then start this \
             session again."
        }
        false => "Read the end of the log, fix the cause, then start the session again.",
    };
    Failure {
        code: FailureCode::OpencodeCrashed,
        message: format!("opencode {cause}, {starts} times in a row."),
        advice: advice.to_owned(),
        log_tail,
    }
}

/// Explains that opencode did not become healthy in time.
pub(super) fn opencode_not_ready(limits: &Limits) -> Failure {
    Failure {
        code: FailureCode::OpencodeNotReady,
        message: format!("opencode was not ready within {} seconds.", limits.ready.as_secs_f32()),
        advice:
            "The end of the log may say why. If the machine is slow at this moment, start the session again."
                .to_owned(),
        log_tail: None,
    }
}

/// Explains that the opencode program can't be started.
pub(super) fn opencode_not_started(program: &Path, error: &io::Error) -> Failure {
    match error.kind() {
        // Too many processes, too little memory, …
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory | io::ErrorKind::StorageFull => Failure {
            code: FailureCode::BackendError,
            message: format!("The machine can't start another process: {error}."),
            advice: "Stop other sessions or programs, then start this session again.".to_owned(),
            log_tail: None,
        },
        _ => Failure {
            code: FailureCode::OpencodeNotFound,
            message: format!("The program {} can't be started: {error}.", program.display()),
            advice: "Install opencode, or set OPENCODE_BIN to its program; then restart the router."
                .to_owned(),
            log_tail: None,
        },
    }
}

fn disk_full(log_tail: Option<String>) -> Failure {
    git_output::disk_full(log_tail, Machine::Shared)
}
