//! How the program ends when it does not go well.

use std::{fmt, io};

use api::client::ClientError;

/// What is printed, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// Another try may go well.
    pub(crate) is_passing: bool,
}

impl Failure {
    /// It did not go well.
    pub(crate) const ERROR: u8 = 1;
    /// The command line can't be understood (clap's own code for it).
    pub(crate) const USAGE: u8 = 2;
    /// There is no such session.
    pub(crate) const NOT_FOUND: u8 = 3;
    /// The router, the sign-in in front of it, or the cluster said no.
    pub(crate) const REFUSED: u8 = 4;
    /// The router or the API server can't be reached.
    pub(crate) const UNREACHABLE: u8 = 5;

    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, is_passing: false }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<ClientError> for Failure {
    fn from(why: ClientError) -> Self {
        let code = match &why {
            ClientError::Address { .. } | ClientError::Header(_) => Self::USAGE,
            ClientError::Unreachable { .. } => Self::UNREACHABLE,
            ClientError::SignIn { .. } => Self::REFUSED,
            ClientError::Refused { status: 404, .. } => Self::NOT_FOUND,
            ClientError::Refused { status: 400..=499, .. } => Self::REFUSED,
            _ => Self::ERROR,
        };
        let request = match &why {
            ClientError::Refused { status: 500.., request_id: Some(id), .. } => {
                Some(format!("The router's log tells more: look for request {id}."))
            }
            _ => None,
        };
        let hint = why.hint().map(ToOwned::to_owned).or(request);
        Self { code, message: why.to_string(), hint, is_passing: why.is_passing() }
    }
}

impl From<io::Error> for Failure {
    fn from(why: io::Error) -> Self {
        // `… | head` has read enough: that is how pipes end, and nobody is there to be told.
        let code = if why.kind() == io::ErrorKind::BrokenPipe { 0 } else { Self::ERROR };
        Self::new(code, why.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n{hint}"),
            None => Ok(()),
        }
    }
}
