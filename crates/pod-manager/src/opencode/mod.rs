//! Speaks to a session's opencode. A session is hostile: every answer is read with a bound on time and size,
//! and its content is checked before it is used.

mod checks;
mod client;
mod event;
mod event_scope;
mod events;
#[cfg(feature = "test-util")]
pub(crate) mod fake;
#[cfg(any(feature = "kubernetes", all(feature = "local", unix)))]
pub(crate) mod health;
mod http;
mod state_events;
#[cfg(test)]
mod test_server;

pub(crate) use client::{Conversation, MAX_BUSY, MessageIds, OpencodeClient};
pub use event::Role;
pub(crate) use event::{ConversationChange, Event, MAX_TEXT, Part, event_time, keep_end, parse};
pub use event_scope::EventScope;
pub(crate) use events::{EventStream, RawEvent, Received};
pub(crate) use http::OpencodeError;
pub(crate) use state_events::{StateEvents, up_to_date_at};
