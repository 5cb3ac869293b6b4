//! Tokens for `opencode attach`.

use pod_manager::AttachToken;

use super::time::timestamp;
use crate::wire;

/// Converts what is known of an attach token.
#[must_use]
pub fn attach_token(token: &AttachToken) -> wire::AttachToken {
    wire::AttachToken {
        id: token.id.to_string(),
        name: token.name.to_string(),
        created_at: timestamp(token.created_at),
        expires_at: timestamp(token.expires_at),
    }
}
