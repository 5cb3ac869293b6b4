//! What the layer asks of the application: which streams can be resumed, and what they sent.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::request_head::RequestHead;

/// Finds the log of the event stream that a request asks for.
pub trait EventLogs: Send + Sync + 'static {
    /// Returns the stream's log, or `None` if the request is not for a stream that can be resumed. It is
    /// called for every `GET`, so it must be fast and never wait.
    ///
    /// The request was resolved, so its extensions have the [`SessionRoute`](session_key::SessionRoute) and
    /// the [`Identity`](session_key::Identity) of the session's owner.
    fn find(&self, request: &RequestHead<'_>) -> Option<Arc<dyn EventLog>>;
}

/// The events of one stream, kept for longer than a connection lasts.
///
/// The log is a second reader of the same source: it has the events in the order in which the session sends
/// them on the stream, sooner or later than they arrive there.
pub trait EventLog: Send + Sync + 'static {
    /// Returns the id of the event with this data, which no other event of the stream has. The data is what
    /// the session sent, so it may be anything.
    ///
    /// `None` means that the event is not in the log: it is sent without an id, and not again after a
    /// reconnect. Such are greetings and heartbeats, which belong to one connection.
    fn id_of(&self, data: &[u8]) -> Option<String>;

    /// Returns the events after the one with this id, and then those that happen. The id is what the client
    /// sent, so it may be any text.
    ///
    /// The stream ends as soon as the log can't be sure that it has every event: at once for an id that it
    /// does not know.
    fn after(&self, id: &str) -> BoxStream<'static, LoggedEvent>;

    /// Returns the data of events that make a client load its state again, or that contain the state. They
    /// are sent in place of events that the log does not have, without an id. The stream must end.
    ///
    /// `last` is the client's last id; any text, and empty if the client sent no usable one.
    fn resync(&self, last: &str) -> BoxStream<'static, Bytes>;
}

/// An event of an [`EventLog`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoggedEvent {
    /// The id that [`EventLog::id_of`] returns for this event.
    pub id: String,
    /// The event's data: the text of its `data` lines, joined by line feeds.
    pub data: Bytes,
}

impl LoggedEvent {
    /// Makes an event.
    #[must_use]
    pub fn new(id: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self { id: id.into(), data: data.into() }
    }
}
