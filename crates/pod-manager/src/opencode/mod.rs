//! Speaks to a session's opencode. A session is hostile: every answer is read with a bound on time and size,
//! and its content is checked before it is used.

mod client;
#[cfg(feature = "test-util")]
pub(crate) mod fake;
#[cfg(any(feature = "kubernetes", all(feature = "local", unix)))]
pub(crate) mod health;
mod http;
#[cfg(test)]
mod test_server;

pub(crate) use client::{Conversation, MessageIds, OpencodeClient};
pub(crate) use http::{HttpClient, OpencodeError};
