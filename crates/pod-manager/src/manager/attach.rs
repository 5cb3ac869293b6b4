//! `opencode attach`: who may, and for how long. Checking a token takes no lock and never waits.

use std::{sync::Arc, time::Duration};

use session_key::{Identity, SessionHash};
use tokio::{sync::watch, time::sleep};

use super::{error::ManagerError, manager::Manager, view::View};
use crate::attach::{AttachChange, AttachMatch, AttachSecret, AttachToken, AttachTokenId, AttachTokens};

/// What a valid token grants: requests in the owner's name, to this session alone.
#[derive(Debug, Clone)]
pub struct AttachGrant {
    /// The session's owner.
    pub owner: Identity,
    found: AttachMatch,
    tokens: watch::Receiver<Arc<AttachTokens>>,
    /// How long the token is still valid; `None`: it does not expire.
    remaining: Option<Duration>,
}

impl AttachGrant {
    /// Waits until the token is no longer valid: it was revoked, it has expired, or its session is gone.
    pub async fn ended(mut self) {
        let found = self.found;
        let revoked = async move {
            // It fails once the session is gone.
            let _ = self.tokens.wait_for(|tokens| !tokens.accepts(&found)).await;
        };
        match self.remaining {
            Some(remaining) => tokio::select! {
                () = revoked => {}
                () = sleep(remaining) => {}
            },
            None => revoked.await,
        }
    }
}

impl Manager {
    /// Returns what `secret` grants, if it is a token of this session that is valid now. Unlike all other
    /// questions, this one has no user: the token stands for the owner.
    pub fn attach_grant(&self, hash: SessionHash, secret: &[u8]) -> Option<AttachGrant> {
        let now = self.clock.now();
        self.index.with(hash, |entry| {
            let view = entry.and_then(|entry| entry.view());
            // A session that does not exist takes as long as one without tokens.
            let none = AttachTokens::default();
            let (found, end) =
                view.as_ref().map_or(&none, |view| &*view.status.attach_tokens).find(secret, now)?;
            let entry = entry?;
            let remaining = end.map(|end| end.duration_since(now).unwrap_or_default());
            let tokens = entry.watch_attach_tokens();
            Some(AttachGrant { owner: entry.owner.clone(), found, tokens, remaining })
        })
    }

    /// Creates a token that is valid for `lifetime`, by default
    /// [`attach_token_lifetime`](super::ManagerSettings::attach_token_lifetime); a longer lifetime than the
    /// longest one is shortened. The token itself is returned here and nowhere else.
    ///
    /// # Errors
    /// [`ManagerError`]
    pub async fn create_attach_token(
        &self,
        user: &Identity,
        hash: SessionHash,
        name: &str,
        lifetime: Option<Duration>,
    ) -> Result<(AttachSecret, AttachToken), ManagerError> {
        let lifetime = lifetime.unwrap_or(self.settings.attach_token_lifetime);
        let lifetime = lifetime.min(self.settings.max_attach_token_lifetime);
        let (secret, token) = AttachToken::generate(name, self.clock.now(), lifetime);
        let found = AttachMatch::Token(token.id);
        let is_visible = move |view: &View| view.status.attach_tokens.accepts(&found);
        self.change_attach_tokens(user, hash, AttachChange::Create(token.clone()), is_visible).await?;
        Ok((secret, token))
    }

    /// Revokes a token; what it let in ends. A token that is gone already is no error.
    ///
    /// # Errors
    /// [`ManagerError`]
    pub async fn revoke_attach_token(
        &self,
        user: &Identity,
        hash: SessionHash,
        id: AttachTokenId,
    ) -> Result<(), ManagerError> {
        let found = AttachMatch::Token(id);
        let is_visible = move |view: &View| !view.status.attach_tokens.accepts(&found);
        self.change_attach_tokens(user, hash, AttachChange::Revoke(id), is_visible).await
    }

    /// Revokes all tokens of the session, and the password that the TypeScript router gave it.
    ///
    /// # Errors
    /// [`ManagerError`]
    pub async fn revoke_attach_tokens(&self, user: &Identity, hash: SessionHash) -> Result<(), ManagerError> {
        let is_visible = |view: &View| view.status.attach_tokens.is_empty();
        self.change_attach_tokens(user, hash, AttachChange::RevokeAll, is_visible).await
    }

    /// Returns how long an attach token is valid: by default, and at most.
    pub fn attach_token_lifetimes(&self) -> (Duration, Duration) {
        (self.settings.attach_token_lifetime, self.settings.max_attach_token_lifetime)
    }

    /// Returns the session's tokens that are valid now, the oldest first.
    pub fn valid_attach_tokens(&self, view: &View) -> Vec<AttachToken> {
        view.status.attach_tokens.valid(self.clock.now()).cloned().collect()
    }

    async fn change_attach_tokens(
        &self,
        user: &Identity,
        hash: SessionHash,
        change: AttachChange,
        is_visible: impl Fn(&View) -> bool,
    ) -> Result<(), ManagerError> {
        {
            let _guard = self.command_locks.lock(hash).await;
            self.owned(user, hash)?;
            self.backend.change_attach_tokens(hash, change).await?;
        }
        self.wait_visible(user, hash, is_visible).await.map(drop)
    }
}
