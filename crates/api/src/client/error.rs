//! The client's errors.

use thiserror::Error;

use crate::wire::ErrorBody;

/// Why a request failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The router's address is invalid.
    #[error("{address:?} is not the address of a router: {reason}")]
    Address {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A header is invalid.
    #[error("invalid header: {0}; write it as 'Name: value'")]
    Header(&'static str),
    /// The router could not be reached.
    #[error("cannot reach the router at {server}: {reason}")]
    Unreachable {
        /// The router's address.
        server: String,
        /// What happened.
        reason: String,
    },
    /// The router answered with an error.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Stable, for programs.
        code: String,
        /// The router's sentence.
        message: String,
        /// The id by which the router's log names the request.
        request_id: Option<String>,
    },
    /// A sign-in in front of the router refused the request.
    #[error("{server} requires a sign-in (it answered {status})")]
    SignIn {
        /// The router's address.
        server: String,
        /// The HTTP status: 401, 403, or a redirect.
        status: u16,
    },
    /// The answer is not one that a router gives.
    #[error("the server at {server} is not a router: {reason}")]
    Unexpected {
        /// The router's address.
        server: String,
        /// What is unexpected.
        reason: String,
    },
}

impl ClientError {
    /// Returns what to do, unless the error itself says so.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => Some(
                "Is the router running? Start it with `make run`, or set its address with --server or \
                 OPENCODE_ROUTER_URL.",
            ),
            Self::SignIn { .. } => Some(
                "Send the header that the sign-in in front of the router needs with --header 'Name: value'.",
            ),
            Self::Unexpected { .. } => Some("Is that the router's address? Set it with --server."),
            _ => None,
        }
    }

    /// Returns the HTTP status, if the router answered with an error.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the same request may succeed later: the router cannot be reached or is unavailable.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => matches!(status, 502..=504),
            _ => false,
        }
    }

    /// Converts an answer other than a success.
    pub(super) fn from_answer(server: &str, status: u16, body: &[u8]) -> Self {
        let server = server.to_owned();
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(ErrorBody { error, code, request_id }) => {
                Self::Refused { status, code, message: error, request_id }
            }
            Err(_) if matches!(status, 300..=399 | 401 | 403) => Self::SignIn { server, status },
            // A gateway in front of the router answers while the router is down.
            Err(_) if (502..=504).contains(&status) => {
                Self::Unreachable { server, reason: format!("a gateway in front of it answered {status}") }
            }
            Err(_) => Self::Unexpected { server, reason: format!("it answered {status} without a reason") },
        }
    }

    pub(super) fn from_transport(server: &str, error: reqwest::Error) -> Self {
        let server = server.to_owned();
        if error.is_timeout() {
            return Self::Unreachable { server, reason: "it did not answer in time".to_owned() };
        }
        Self::Unreachable { server, reason: innermost(&error.without_url()) }
    }
}

/// Returns the innermost source of an error (`Connection refused (os error 111)`), which says what happened.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.last().map_or_else(String::new, ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::ClientError;

    fn check(status: u16, body: &str, expected: &str) {
        let error = ClientError::from_answer("http://h/", status, body.as_bytes());
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn an_error_answer_becomes_a_sentence() {
        check(404, r#"{"error":"Session not found.","code":"not_found"}"#, "Session not found.");
        check(302, "<a href=/sign-in>", "http://h/ requires a sign-in (it answered 302)");
        check(403, "<html>", "http://h/ requires a sign-in (it answered 403)");
        check(404, "<html>", "the server at http://h/ is not a router: it answered 404 without a reason");
        check(
            502,
            "Bad gateway",
            "cannot reach the router at http://h/: a gateway in front of it answered 502",
        );
    }

    #[test]
    fn only_transient_errors_are_retried() {
        let is_transient =
            |status, body: &str| ClientError::from_answer("h", status, body.as_bytes()).is_transient();
        assert!(is_transient(502, ""));
        assert!(is_transient(503, r#"{"error":"e","code":"unavailable"}"#));
        assert!(!is_transient(404, r#"{"error":"e","code":"not_found"}"#));
        assert!(!is_transient(302, ""));
    }
}
