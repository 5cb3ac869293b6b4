//! The stages of a session's start.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One stage of a start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// The stage's name.
    pub stage: StageName,
    /// The stage's status.
    pub status: StageStatus,
    /// When the stage started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When the stage ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// The current step, for example `Receiving objects`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The progress of the current step, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Bytes received so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// The stages of a start, in order. Each backend has some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StageName {
    /// The session waits to start.
    Queued,
    /// The Pod waits for a node.
    Scheduled,
    /// The volume is being attached.
    Volume,
    /// The image is being pulled.
    Image,
    /// The repository is being cloned or fetched.
    Cloning,
    /// opencode is starting.
    Starting,
    /// opencode answers; the first opencode session is being opened.
    Ready,
}

/// The status of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StageStatus {
    /// The stage has not started.
    Pending,
    /// The stage is running.
    Active,
    /// The stage is complete.
    Done,
    /// The stage failed; the session's `reason` says why.
    Failed,
}
