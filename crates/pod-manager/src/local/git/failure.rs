use std::io;

use super::{Git, Output};
use crate::model::{Failure, FailureCode};

/// What the remote or the system says, in lower case, and what it means. The first that fits counts.
const MEANINGS: &[(FailureCode, &[&str])] = &[
    (FailureCode::DiskFull, &["no space left on device", "disk quota exceeded"]),
    (
        FailureCode::RepositoryNotFound,
        &[
            "repository not found",
            "does not appear to be a git repository",
            "' not found",
            "does not exist",
            "returned error: 404",
            "not found: did you run git update-server-info",
            "access denied or repository not exported",
            "could not be found",
        ],
    ),
    (
        FailureCode::AuthenticationFailed,
        &[
            "could not read username",
            "could not read password",
            "terminal prompts disabled",
            "authentication failed",
            "permission denied (",
            "host key verification failed",
            "returned error: 401",
            "returned error: 403",
            "access denied",
            "invalid credentials",
            "no more authentication methods",
        ],
    ),
    (
        FailureCode::NetworkUnreachable,
        &[
            "could not resolve host",
            "temporary failure in name resolution",
            "name or service not known",
            "nodename nor servname",
            "failed to connect to",
            "couldn't connect to server",
            "unable to connect to",
            "unable to look up",
            "connection refused",
            "connection timed out",
            "operation timed out",
            "connection reset",
            "network is unreachable",
            "no route to host",
            "operation too slow",
            "the remote end hung up unexpectedly",
            "early eof",
            "empty reply from server",
            "returned error: 5",
        ],
    ),
];

impl Git {
    /// What a clone that did not succeed means, for a person.
    pub(super) fn clone_failure(&self, output: &Output) -> Failure {
        let said = output.said.join("\n");
        let code = meaning(&said).unwrap_or(FailureCode::CloneFailed);
        let last = last_words(&output.said);
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
        if meaning(&said) == Some(FailureCode::DiskFull) {
            return disk_full(Some(said));
        }
        Failure {
            code: FailureCode::CheckoutFailed,
            message: format!("git could not check out {branch}: {}.", last_words(&output.said)),
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

/// What these words of git's mean, where they are known.
fn meaning(said: &str) -> Option<FailureCode> {
    let said = said.to_lowercase();
    MEANINGS.iter().find(|(_, words)| words.iter().any(|word| said.contains(word))).map(|(code, _)| *code)
}

/// git's own sentence on what broke, without its full stop.
fn last_words(said: &[String]) -> String {
    let line = said
        .iter()
        .rev()
        .find(|line| line.starts_with("fatal:") || line.starts_with("error:"))
        .or(said.last())
        .map_or("it said nothing", |line| line.as_str());
    line.trim_start_matches("fatal:").trim_start_matches("error:").trim().trim_end_matches('.').to_owned()
}

fn tail(said: String) -> Option<String> {
    (!said.trim().is_empty()).then_some(said)
}

/// A line without the credentials that addresses in it may hold.
pub(super) fn redacted(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/'\"?#".contains(c)).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(at) => {
                clean.push_str("***");
                &after[at..]
            }
            None => after,
        };
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remotes_say_is_understood() {
        #[track_caller]
        fn check(said: &str, expected: Option<FailureCode>) {
            assert_eq!(meaning(said), expected, "{said}");
        }
        use FailureCode as Code;
        check(
            "remote: Repository not found.\nfatal: repository 'https://x/y/' not found",
            Some(Code::RepositoryNotFound),
        );
        check("fatal: '/nowhere' does not appear to be a git repository", Some(Code::RepositoryNotFound));
        check("fatal: repository '/nowhere' does not exist", Some(Code::RepositoryNotFound));
        check(
            "fatal: remote error: access denied or repository not exported: /x",
            Some(Code::RepositoryNotFound),
        );
        check(
            "fatal: could not read Username for 'https://x': terminal prompts disabled",
            Some(Code::AuthenticationFailed),
        );
        check(
            "git@x: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            Some(Code::AuthenticationFailed),
        );
        check(
            "fatal: unable to access 'https://x/': The requested URL returned error: 403",
            Some(Code::AuthenticationFailed),
        );
        check(
            "fatal: unable to access 'https://x/': Could not resolve host: x",
            Some(Code::NetworkUnreachable),
        );
        check(
            "ssh: Could not resolve hostname x: Name or service not known\nfatal: Could not read from remote repository.",
            Some(Code::NetworkUnreachable),
        );
        check(
            "fatal: unable to access 'http://127.0.0.1:1/': Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server",
            Some(Code::NetworkUnreachable),
        );
        check(
            "error: file write error: No space left on device\nfatal: unable to write",
            Some(Code::DiskFull),
        );
        check("fatal: SSL certificate problem: unable to get local issuer certificate", None);
    }

    #[test]
    fn credentials_do_not_stay_in_what_git_says() {
        #[track_caller]
        fn check(line: &str, expected: &str) {
            assert_eq!(redacted(line), expected);
        }
        check(
            "fatal: unable to access 'https://me:se@cret@example.com/a': no",
            "fatal: unable to access 'https://***@example.com/a': no",
        );
        check("ssh://git@example.com/a and http://x:y@z", "ssh://***@example.com/a and http://***@z");
        check("https://example.com/a@b", "https://example.com/a@b");
        check("no address @ all", "no address @ all");
    }
}
