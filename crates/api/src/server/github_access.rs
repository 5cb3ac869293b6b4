//! In whose name GitHub is asked.

use std::sync::Arc;

use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use github::Client;
use pod_manager::{Credentials, GitAuthor, Token};

use super::error::ErrorResponse;

/// Gives the GitHub token of the person who owns this machine.
pub trait OwnToken: Send + Sync + 'static {
    /// Returns the token, if there is one.
    fn token(&self) -> BoxFuture<'_, Option<Token>>;
}

/// Asks GitHub in the caller's name. Cheap to clone.
#[derive(Clone)]
pub struct Github {
    pub(super) client: Client,
    own_token: Option<Arc<dyn OwnToken>>,
}

impl Github {
    /// Asks with the tokens that the sign-in passes on.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, own_token: None }
    }

    /// Asks with this token if the sign-in passes none on. Only for a router whose only user owns the
    /// machine.
    #[must_use]
    pub fn with_own_token(mut self, own_token: Arc<dyn OwnToken>) -> Self {
        self.own_token = Some(own_token);
        self
    }

    /// Returns the address of GitHub's pages.
    pub(super) fn web_url(&self) -> String {
        self.client.api_url().web_url()
    }

    /// Returns the token to ask with.
    pub(super) async fn token(&self, credentials: &Credentials) -> Option<Token> {
        match (&credentials.github_token, &self.own_token) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(own_token)) => own_token.token().await,
            (None, None) => None,
        }
    }

    /// Adds who the commits of a session that is started with these credentials are by. GitHub is asked for
    /// two seconds at most, and if it does not answer, nothing is added.
    pub async fn with_git_author(&self, mut credentials: Credentials) -> Credentials {
        if let (Some(token), None) = (&credentials.github_token, &credentials.git_author) {
            let author = self.client.author(token.expose()).await;
            credentials.git_author = author.and_then(|author| GitAuthor::new(&author.name, &author.email));
        }
        credentials
    }

    /// Returns the token to ask with, or the refusal of a route that needs one.
    pub(super) async fn required_token(&self, credentials: &Credentials) -> Result<Token, ErrorResponse> {
        self.token(credentials).await.ok_or_else(|| {
            let message = "GitHub token required. Sign in with GitHub to choose among your repositories, or \
                           enter a repository's address.";
            // Not 401: some sign-ins in front replace that by their own page.
            ErrorResponse::new(StatusCode::FORBIDDEN, "github_token_required", message)
        })
    }
}
