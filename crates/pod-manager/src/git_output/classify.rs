use crate::model::FailureCode;

/// What the remote or the system says, in lower case, and what it means. The first that fits counts.
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

/// What these words of git's mean, where they are known.
pub(crate) fn classify(said: &str) -> Option<FailureCode> {
    let said = said.to_lowercase();
    PATTERNS.iter().find(|(_, words)| words.iter().any(|word| said.contains(word))).map(|(code, _)| *code)
}

/// git's own sentence on what broke, without its full stop.
pub(crate) fn last_error(said: &[String]) -> String {
    let line = said
        .iter()
        .rev()
        .find(|line| line.starts_with("fatal:") || line.starts_with("error:"))
        .or(said.last())
        .map_or("it said nothing", |line| line.as_str());
    line.trim_start_matches("fatal:").trim_start_matches("error:").trim().trim_end_matches('.').to_owned()
}

/// A line without the credentials that addresses in it may hold.
pub(crate) fn redact_urls(line: &str) -> String {
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
            assert_eq!(classify(said), expected, "{said}");
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
            assert_eq!(redact_urls(line), expected);
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
