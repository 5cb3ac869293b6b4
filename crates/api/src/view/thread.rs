//! The messages of a session's conversation.

use pod_manager::{Role, ThreadMessage};

use crate::wire;

/// Converts a message.
#[must_use]
pub fn message(message: ThreadMessage) -> wire::ThreadMessage {
    wire::ThreadMessage {
        part_id: message.part_id,
        message_id: message.message_id,
        session_id: message.session_id.as_ref().to_owned(),
        role: match message.role {
            Role::User => wire::Role::User,
            Role::Assistant => wire::Role::Assistant,
        },
        text: message.text,
        time: message.time,
    }
}
