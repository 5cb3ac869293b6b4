//! The pull of a session image.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An image to pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImagePull {
    /// The image's name, such as `registry.example.org/opencode-session:1.0`.
    #[serde(default)]
    pub image: String,
    /// Whether new sessions are to use the image. Refused if true: OPENCODE_IMAGE decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_config: Option<bool>,
}

/// The end of a pull.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PullOutcome {
    /// Whether a node has the image.
    pub status: PullStatus,
    /// A sentence that says which node, or why not.
    pub message: String,
}

/// Whether an image was pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PullStatus {
    /// A node has it.
    Success,
    /// No node has it.
    Failed,
}

/// How far a pull is: the data of the event `progress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImagePullProgress {
    /// A sentence that says what is being done.
    pub message: String,
}
