//! The settings that the site shows.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The settings of the router that the site shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiteConfig {
    /// The repository that the form suggests (`DEFAULT_GIT_REPO`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_repo: Option<String>,
    /// Whether `ssh://`, `git://` and `user@host:path` addresses are accepted.
    pub ssh_repos: bool,
    /// Whether `file://` addresses and absolute paths are accepted.
    pub local_repos: bool,
    /// Minutes without activity after which a session is stopped. 0: never.
    pub idle_timeout_minutes: u32,
    /// The address of the GitHub whose repositories the router can list (`GITHUB_API_URL`).
    pub github_url: String,
    /// Whether the router has a token of the caller for it.
    pub github_token: bool,
    /// Whether the caller is an administrator, who may use the routes under `/api/admin`.
    pub admin: bool,
    /// The router's version.
    pub version: String,
}
