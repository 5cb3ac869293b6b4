use thiserror::Error;

use crate::wire::ErrorBody;

/// Why there is no answer, or not the one hoped for. `Display` is a sentence for a person.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The router's address is none.
    #[error("{address:?} is not the address of a router: {why}")]
    Address {
        /// As given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// A header to send is none.
    #[error("a header is written 'Name: value': {0}")]
    Header(&'static str),
    /// Nothing answers there.
    #[error("can't reach the router at {server}: {why}")]
    Unreachable {
        /// The router's address.
        server: String,
        /// What happened.
        why: String,
    },
    /// The router answered, and said no.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Stable, for programs.
        code: String,
        /// The router's sentence.
        message: String,
        /// To find the request in the router's log.
        request_id: Option<String>,
    },
    /// What stands in front of the router wants a sign-in.
    #[error("{server} wants a sign-in (it answers {status})")]
    SignIn {
        /// The router's address.
        server: String,
        /// The HTTP status: 401, 403, or one that sends elsewhere.
        status: u16,
    },
    /// What answers does not speak as a router does.
    #[error("what answers at {server} is not a router: {why}")]
    Unexpected {
        /// The router's address.
        server: String,
        /// What is strange.
        why: String,
    },
}

impl ClientError {
    /// What to do, where the error itself does not say.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => Some(
                "Is the router running? Start it with `make run`, or say where it is with --server or OPENCODE_ROUTER_URL.",
            ),
            Self::SignIn { .. } => {
                Some("Give what the sign-in in front of the router asks for with --header 'Name: value'.")
            }
            Self::Unexpected { .. } => Some("Is that the router's address? Say where it is with --server."),
            _ => None,
        }
    }

    /// The HTTP status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Another try may go well: nothing answers now, or the router says so.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => matches!(status, 502..=504),
            _ => false,
        }
    }

    /// The error that an answer other than a success is.
    pub(super) fn of_answer(server: &str, status: u16, body: &[u8]) -> Self {
        let server = server.to_owned();
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(ErrorBody { error, code, request_id }) => {
                Self::Refused { status, code, message: error, request_id }
            }
            Err(_) if matches!(status, 300..=399 | 401 | 403) => Self::SignIn { server, status },
            // A gateway in front, whose router is away.
            Err(_) if (502..=504).contains(&status) => {
                Self::Unreachable { server, why: format!("a gateway in front of it answers {status}") }
            }
            Err(_) => Self::Unexpected { server, why: format!("it answers {status} without a reason") },
        }
    }

    pub(super) fn of_transport(server: &str, why: reqwest::Error) -> Self {
        let server = server.to_owned();
        if why.is_timeout() {
            return Self::Unreachable { server, why: "it did not answer in time".to_owned() };
        }
        Self::Unreachable { server, why: root(&why.without_url()) }
    }
}

/// The last of an error's sources: `Connection refused (os error 111)`, not what tried.
fn root(why: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(why), |why| why.source()).last().map_or_else(String::new, ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::ClientError;

    fn check(status: u16, body: &str, expected: &str) {
        let error = ClientError::of_answer("http://h/", status, body.as_bytes());
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn an_answer_that_is_no_success_becomes_a_sentence() {
        check(
            404,
            r#"{"error":"There is no such session.","code":"not_found"}"#,
            "There is no such session.",
        );
        check(302, "<a href=/sign-in>", "http://h/ wants a sign-in (it answers 302)");
        check(403, "<html>", "http://h/ wants a sign-in (it answers 403)");
        check(404, "<html>", "what answers at http://h/ is not a router: it answers 404 without a reason");
        check(
            502,
            "Bad gateway",
            "can't reach the router at http://h/: a gateway in front of it answers 502",
        );
    }

    #[test]
    fn only_what_passes_is_tried_again() {
        let passing = |status, body: &str| ClientError::of_answer("h", status, body.as_bytes()).is_passing();
        assert!(passing(502, ""));
        assert!(passing(503, r#"{"error":"e","code":"unavailable"}"#));
        assert!(!passing(404, r#"{"error":"e","code":"not_found"}"#));
        assert!(!passing(302, ""));
    }
}
