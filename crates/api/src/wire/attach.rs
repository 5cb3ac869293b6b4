//! Access by `opencode attach`, and its tokens.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use session_key::SessionHash;
use utoipa::ToSchema;

/// What `opencode attach` needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachInfo {
    /// The session's key.
    #[schema(value_type = String)]
    pub hash: SessionHash,
    /// The address for `opencode attach`.
    pub attach_url: String,
    /// The newest opencode session, for `--session`; null unless the session runs.
    #[schema(required)]
    pub session_id: Option<String>,
    /// The tokens that are valid, the oldest first.
    pub tokens: Vec<AttachToken>,
    /// How many tokens a session may have at once.
    pub max_tokens: u32,
    /// How many days a token is valid by default.
    pub default_days: u32,
    /// How many days a token may be valid.
    pub max_days: u32,
    /// Whether the password that the TypeScript router gave the session is still accepted. The first token
    /// replaces it.
    pub original_password: bool,
}

/// A token for `opencode attach`, without the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachToken {
    /// Names the token among those of its session.
    pub id: String,
    /// The name that its creator gave it; it may be empty.
    pub name: String,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// From when on it is refused.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// The token to create.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateAttachToken {
    /// A name by which its owner recognises it, such as the machine where it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many days it is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_days: Option<u32>,
}

/// A token for `opencode attach` that was just created.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewAttachToken {
    /// The token itself, which is not shown again: the password for `opencode attach`.
    pub token: String,
    /// Names the token among those of its session.
    pub id: String,
    /// The name that its creator gave it; it may be empty.
    pub name: String,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// From when on it is refused.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The address for `opencode attach`.
    pub attach_url: String,
}

impl fmt::Debug for NewAttachToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewAttachToken").field("id", &self.id).finish_non_exhaustive()
    }
}
