//! The error that ends the program: a message, advice and an exit code.

use std::{fmt, io};

use api::client::ClientError;

/// An error as it is printed, with the program's exit code.
#[derive(Debug)]
pub(crate) struct CliError {
    pub(crate) exit_code: u8,
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// Whether the same request may succeed later.
    pub(crate) is_transient: bool,
}

impl CliError {
    /// Any other error.
    pub(crate) const ERROR: u8 = 1;
    /// The command line is invalid (clap's own exit code for it).
    pub(crate) const USAGE: u8 = 2;
    /// There is no such session.
    pub(crate) const NOT_FOUND: u8 = 3;
    /// The router, the sign-in proxy in front of it, or the cluster refused the request.
    pub(crate) const REFUSED: u8 = 4;
    /// The router or the API server can't be reached.
    pub(crate) const UNREACHABLE: u8 = 5;

    pub(crate) fn new(exit_code: u8, message: impl Into<String>) -> Self {
        Self { exit_code, message: message.into(), hint: None, is_transient: false }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let exit_code = match &error {
            ClientError::Address { .. } | ClientError::Header(_) => Self::USAGE,
            ClientError::Unreachable { .. } => Self::UNREACHABLE,
            ClientError::SignIn { .. } => Self::REFUSED,
            ClientError::Refused { status: 404, .. } => Self::NOT_FOUND,
            ClientError::Refused { status: 400..=499, .. } => Self::REFUSED,
            _ => Self::ERROR,
        };
        let request_hint = match &error {
            ClientError::Refused { status: 500.., request_id: Some(id), .. } => {
                Some(format!("For the cause, search the router's log for request {id}."))
            }
            _ => None,
        };
        let hint = error.hint().map(ToOwned::to_owned).or(request_hint);
        Self { exit_code, message: error.to_string(), hint, is_transient: error.is_transient() }
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        // With `… | head` the reader closes the pipe once it has read enough: that is success.
        let exit_code = if error.kind() == io::ErrorKind::BrokenPipe { 0 } else { Self::ERROR };
        Self::new(exit_code, error.to_string())
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n{hint}"),
            None => Ok(()),
        }
    }
}
