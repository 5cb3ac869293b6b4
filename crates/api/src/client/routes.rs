//! One method for each route.

use std::collections::BTreeMap;

use reqwest::{Method, StatusCode};
use session_key::SessionHash;

use super::{error::ClientError, http::Client};
use crate::wire::{
    AdminSessionList, AttachInfo, Branch, CreateAttachToken, CreateSession, NewAttachToken, Repository,
    SecretNames, SecretText, Session, SessionList, SessionState, SetSecret, SetSecrets, SiteConfig,
    SuggestedBranch, UnsavedWork,
};

/// The answer to [`Client::create`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The session.
    pub session: SessionState,
    /// Whether this request created the session; otherwise it existed already.
    pub new: bool,
}

impl Client {
    /// Returns the caller's sessions; the one with the latest activity comes first.
    ///
    /// # Errors
    /// [`ClientError`], like all of these methods.
    pub async fn list(&self) -> Result<SessionList, ClientError> {
        self.json(self.request(Method::GET, "sessions")).await
    }

    /// Returns one session.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 if the caller has no such session.
    pub async fn get(&self, hash: SessionHash) -> Result<Session, ClientError> {
        self.json(self.request(Method::GET, format_args!("sessions/{hash}"))).await
    }

    /// Returns the repositories on GitHub that the caller's token may read.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 403 if there is no token, or GitHub refuses it; 429 at its rate limit.
    pub async fn repositories(&self) -> Result<Vec<Repository>, ClientError> {
        self.json(self.request(Method::GET, "user/repos")).await
    }

    /// Returns the branches of a repository on GitHub, `owner/name`.
    ///
    /// # Errors
    /// As [`Client::repositories`], and with 404 if the token may not read the repository.
    pub async fn branches(&self, repo: &str) -> Result<Vec<Branch>, ClientError> {
        self.json(self.request(Method::GET, "user/repos/branches").query(&[("repo", repo)])).await
    }

    /// Returns the names of the caller's secrets.
    ///
    /// # Errors
    /// [`ClientError`], like all of these methods.
    pub async fn secrets(&self) -> Result<SecretNames, ClientError> {
        self.json(self.request(Method::GET, "user/secret")).await
    }

    /// Sets one of the caller's secrets; others stay as they are. Returns all names.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 400 if the name or the value is invalid, or a limit is reached.
    pub async fn set_secret(&self, name: &str, value: SecretText) -> Result<SecretNames, ClientError> {
        let body = SetSecret { value: Some(value) };
        self.json(self.request(Method::PUT, secret_path(name)).json(&body)).await
    }

    /// Sets some of the caller's secrets; others stay as they are. Returns all names.
    ///
    /// # Errors
    /// As [`Client::set_secret`].
    pub async fn set_secrets(
        &self,
        secrets: BTreeMap<String, SecretText>,
    ) -> Result<SecretNames, ClientError> {
        let body = SetSecrets { secrets: Some(secrets) };
        self.json(self.request(Method::PATCH, "user/secret").json(&body)).await
    }

    /// Deletes one of the caller's secrets. Returns the names that are left.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 if the caller has no secret of this name.
    pub async fn delete_secret(&self, name: &str) -> Result<SecretNames, ClientError> {
        self.json(self.request(Method::DELETE, secret_path(name))).await
    }

    /// Deletes all of the caller's secrets.
    ///
    /// # Errors
    /// [`ClientError`], like all of these methods.
    pub async fn delete_secrets(&self) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, "user/secret")).await.map(drop)
    }

    /// Creates a session. A second request for the same session is not an error.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 400 if the repository, branch or message is invalid.
    pub async fn create(&self, session: &CreateSession) -> Result<Created, ClientError> {
        let response = self.send(self.request(Method::POST, "sessions").json(session)).await?;
        let new = response.status() == StatusCode::CREATED;
        Ok(Created { session: self.read_json(response).await?, new })
    }

    /// Starts a stopped or failed session. A running session does not change.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 if the caller has no such session.
    pub async fn resume(&self, hash: SessionHash) -> Result<SessionState, ClientError> {
        self.json(self.request(Method::POST, format_args!("sessions/{hash}/resume"))).await
    }

    /// Stops a session; its files are kept. A stopped session does not change.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 if the caller has no such session.
    pub async fn stop(&self, hash: SessionHash) -> Result<SessionState, ClientError> {
        self.json(self.request(Method::POST, format_args!("sessions/{hash}/stop"))).await
    }

    /// Deletes a session and all of its files.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 if the caller has no such session.
    pub async fn delete(&self, hash: SessionHash) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, format_args!("sessions/{hash}"))).await.map(drop)
    }

    /// Returns the last lines of a session's log.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 if the caller has no such session, with 400 for more than 10,000
    /// lines.
    pub async fn logs(&self, hash: SessionHash, lines: usize) -> Result<String, ClientError> {
        let request = self.request(Method::GET, format_args!("sessions/{hash}/logs"));
        let response = self.send(request.query(&[("lines", lines)])).await?;
        self.body(response).await.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns the work that deleting a session would lose.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 if the caller has no such session.
    pub async fn work(&self, hash: SessionHash) -> Result<UnsavedWork, ClientError> {
        self.json(self.request(Method::GET, format_args!("sessions/{hash}/work"))).await
    }

    /// Returns the sessions of all users, for an administrator.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 if the caller is no administrator, like the next three methods.
    pub async fn list_all(&self) -> Result<AdminSessionList, ClientError> {
        self.json(self.request(Method::GET, "admin/sessions")).await
    }

    /// Stops any user's session, for an administrator; its files are kept.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 if there is no such session.
    pub async fn stop_any(&self, hash: SessionHash) -> Result<SessionState, ClientError> {
        self.json(self.request(Method::POST, format_args!("admin/sessions/{hash}/stop"))).await
    }

    /// Deletes any user's session and all of its files, for an administrator.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 if there is no such session.
    pub async fn delete_any(&self, hash: SessionHash) -> Result<(), ClientError> {
        self.send(self.request(Method::DELETE, format_args!("admin/sessions/{hash}"))).await.map(drop)
    }

    /// Returns the last lines of the log of any user's session, for an administrator.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 if there is no such session, with 400 for more than 10,000 lines.
    pub async fn logs_of_any(&self, hash: SessionHash, lines: usize) -> Result<String, ClientError> {
        let request = self.request(Method::GET, format_args!("admin/sessions/{hash}/logs"));
        let response = self.send(request.query(&[("lines", lines)])).await?;
        self.body(response).await.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns what attaching to a session needs.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 if the caller has no such session.
    pub async fn attach_info(&self, hash: SessionHash) -> Result<AttachInfo, ClientError> {
        self.json(self.request(Method::GET, format_args!("sessions/{hash}/attach-info"))).await
    }

    /// Creates a token for `opencode attach`, which only this answer shows.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 if the caller has no such session, with 429 if it has as many tokens
    /// as it may have.
    pub async fn create_attach_token(
        &self,
        hash: SessionHash,
        token: &CreateAttachToken,
    ) -> Result<NewAttachToken, ClientError> {
        self.json(self.request(Method::POST, format_args!("sessions/{hash}/attach-tokens")).json(token)).await
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 if the caller has no such session, or the session no such token.
    pub async fn revoke_attach_token(&self, hash: SessionHash, id: &str) -> Result<(), ClientError> {
        // Ids are hexadecimal digits; anything else would name another address.
        let id: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
        // No id at all would name all tokens.
        let id = if id.is_empty() { "none" } else { &id };
        let path = format!("sessions/{hash}/attach-tokens/{id}");
        self.send(self.request(Method::DELETE, path)).await.map(drop)
    }

    /// Revokes all tokens of a session.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 404 if the caller has no such session.
    pub async fn revoke_attach_tokens(&self, hash: SessionHash) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, format_args!("sessions/{hash}/attach-tokens"));
        self.send(request).await.map(drop)
    }

    /// Returns a branch name that none of the caller's sessions of that repository uses.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with 400 if the repository is invalid.
    pub async fn suggest_branch(&self, repo_url: &str) -> Result<SuggestedBranch, ClientError> {
        let request = self.request(Method::GET, "sessions/suggest-branch");
        self.json(request.query(&[("repoUrl", repo_url)])).await
    }

    /// Returns the settings of the router that the site shows.
    ///
    /// # Errors
    /// [`ClientError`], like all of these methods.
    pub async fn config(&self) -> Result<SiteConfig, ClientError> {
        self.json(self.request(Method::GET, "config")).await
    }
}

/// Returns the path of a secret; any text is one segment of it.
fn secret_path(name: &str) -> String {
    let encoded = name.bytes().map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    format!("user/secret/{}", encoded.collect::<String>())
}
