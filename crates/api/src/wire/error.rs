//! The body of an error.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of every error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// A sentence that says what happened and what to do.
    pub error: String,
    /// Stable, for programs and translations.
    #[schema(examples("not_found", "invalid_branch"))]
    pub code: String,
    /// The id by which the router's log names the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl ErrorBody {
    /// Returns the JSON text of an error's body. Every error of the router is written here.
    #[must_use]
    pub fn json(code: &str, error: &str, request_id: Option<&str>) -> String {
        let body = Self {
            error: error.to_owned(),
            code: code.to_owned(),
            request_id: request_id.map(ToOwned::to_owned),
        };
        // Texts always have a JSON form.
        serde_json::to_string(&body).unwrap_or_default()
    }
}
