//! The meaning of git's errors.

use crate::model::FailureCode;

/// Parts of error messages, in lower case, and their meaning. The first match counts.
const PATTERNS: &[(FailureCode, &[&str])] = &[
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

/// Returns what git's output means, if it is known.
pub(super) fn classify(output: &str) -> Option<FailureCode> {
    let output = output.to_lowercase();
    PATTERNS.iter().find(|(_, parts)| parts.iter().any(|part| output.contains(part))).map(|(code, _)| *code)
}

/// Returns git's last error message, without its full stop.
pub(super) fn last_error(lines: &[String]) -> String {
    let line = lines
        .iter()
        .rev()
        .find(|line| line.starts_with("fatal:") || line.starts_with("error:"))
        .or(lines.last())
        .map_or("git printed no error", |line| line.as_str());
    line.trim_start_matches("fatal:").trim_start_matches("error:").trim().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_remotes_are_classified() {
        #[track_caller]
        fn check(output: &str, expected: Option<FailureCode>) {
            assert_eq!(classify(output), expected, "{output}");
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
            "ssh: Could not resolve hostname x: Name or service not known\n\
             fatal: Could not read from remote repository.",
            Some(Code::NetworkUnreachable),
        );
        check(
            "fatal: unable to access 'http://127.0.0.1:1/': Failed to connect to 127.0.0.1 port 1 after 0 ms: \
             Couldn't connect to server",
            Some(Code::NetworkUnreachable),
        );
        check(
            "error: file write error: No space left on device\nfatal: unable to write",
            Some(Code::DiskFull),
        );
        check("fatal: SSL certificate problem: unable to get local issuer certificate", None);
    }
}
