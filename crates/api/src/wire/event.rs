//! The events of a session's start.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    session::{Reason, State},
    stage::{Stage, StageName},
};

/// The data of an event of `GET /api/sessions/{hash}/events`. The event's type is the variant's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum SessionEvent {
    /// `progress`: the current stage and all stages.
    Progress {
        /// The current stage.
        stage: StageName,
        /// The current step.
        message: String,
        /// All stages.
        stages: Vec<Stage>,
    },
    /// `state_change`: the session's state changed.
    StateChange {
        /// The new state.
        state: State,
    },
    /// `complete`: the session runs. The stream ends.
    Complete {
        /// The session's URL.
        url: String,
    },
    /// `error`: the session failed, or was stopped or deleted. The stream ends.
    Error {
        /// A sentence that says what happened.
        message: String,
        /// The reason, unless the session was deleted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
}

impl SessionEvent {
    /// Returns the type of the server-sent event.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Progress { .. } => "progress",
            Self::StateChange { .. } => "state_change",
            Self::Complete { .. } => "complete",
            Self::Error { .. } => "error",
        }
    }

    /// Whether the stream ends after this event.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Complete { .. } | Self::Error { .. })
    }
}
