//! The ports on which a session's processes listen.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A dev server of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// The port on which it listens.
    #[schema(examples(5173))]
    pub port: u16,
    /// Its public address, for the session's owner.
    pub url: String,
    /// The name of the process, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("vite"))]
    pub process: Option<String>,
}

/// The ports on which a session listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortNumbers {
    /// The ports, in order.
    pub ports: Vec<u16>,
}
