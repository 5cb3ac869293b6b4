//! Why a request has no response.

use http::Request;

use super::send::UploadError;
use crate::body::Body;

/// A violation of HTTP/1.1 by the session. What follows on the connection cannot be understood any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    #[error("malformed response head: {0}")]
    Head(httparse::Error),
    #[error("response head too large")]
    HeadTooLarge,
    #[error("malformed status code or header")]
    Header,
    #[error("malformed or contradictory Content-Length")]
    ContentLength,
    #[error("unsupported Transfer-Encoding")]
    TransferEncoding,
    #[error("malformed chunk")]
    Chunk,
    #[error("chunk extensions too large")]
    ChunkExtensions,
    #[error("malformed trailers: {0}")]
    Trailers(httparse::Error),
    #[error("trailers too large")]
    TrailersTooLarge,
}

/// Why a response was not received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the session does not speak HTTP/1.1")]
    Parse(#[from] ParseError),
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    #[error("the connection was closed before the response")]
    Closed,
    #[error("the connection was closed within the response")]
    Incomplete,
    #[error("the request could not be sent")]
    Upload(#[source] UploadError),
}

impl Error {
    /// Whether the session sent something that is not HTTP/1.1.
    pub(crate) fn is_parse(&self) -> bool {
        matches!(self, Self::Parse(_))
    }
}

/// Why there is no response to a request.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The connection was closed already. Nothing of the request was sent.
    Unsent(Box<Request<Body>>),
    Failed(Error),
    TimedOut,
}
