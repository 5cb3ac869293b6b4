//! Repositories on GitHub, and their branches.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A repository on GitHub that the caller's token may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Repository {
    /// The name without the owner.
    #[schema(examples("widgets"))]
    pub name: String,
    /// `owner/name`.
    #[schema(examples("acme/widgets"))]
    pub full_name: String,
    /// The address, which `repoUrl` of a new session may be.
    #[schema(examples("https://github.com/acme/widgets"))]
    pub url: String,
    /// Whether it is private.
    pub is_private: bool,
    /// The name of the default branch.
    pub default_branch: String,
}

/// A branch of a repository on GitHub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Branch {
    /// The branch's name.
    pub name: String,
}
