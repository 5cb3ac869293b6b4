//! A session as it is written on its claim, read back.

use std::{sync::Arc, time::SystemTime};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::Value;
use session_key::{GitRef, Identity, InvalidName, RepoPolicy, RepoUrl, SessionHash};
use thiserror::Error;

use super::{
    desired::{DESIRED_KEY, Desired, DesiredState},
    objects::names::{HASH_LABEL, annotation, rfc3339},
};
use crate::{
    attach::AttachTokens,
    model::{GitAuthor, Session, Source},
    persisted_attach::{from_persisted, to_persisted},
    ports::MAX_PORTS,
};

/// The key of the annotation that says that the first prompt was sent.
pub const FIRST_PROMPT_SENT_KEY: &str = "greeted";
/// The key of the annotation with the author of commits, `Name <address>`, if it is not made of the owner.
pub const GIT_AUTHOR_KEY: &str = "git-author";
/// The key of the annotation with the ports that a session has reported.
pub(super) const PORTS_KEY: &str = "ports";
/// The key of the annotation with the run whose Pod needs the Secret with the GitHub token: the Secret is
/// created after the claim, which owns it.
pub(super) const AWAITED_TOKEN_KEY: &str = "awaited-token";
/// The key of the annotation with the latest activity.
pub const ACTIVITY_KEY: &str = "last-activity";

/// The key of the annotation with the digests of the attach tokens.
pub const ATTACH_TOKENS_KEY: &str = "attach-tokens";
/// The key of the annotation with the password that the TypeScript router gave the session for
/// `opencode attach`.
pub const ATTACH_PASSWORD_KEY: &str = "attach-password";

/// Returns the session's hash, from the label.
#[must_use]
pub fn hash_of(meta: &ObjectMeta) -> Option<SessionHash> {
    SessionHash::parse(meta.labels.as_ref()?.get(HASH_LABEL)?).ok()
}

/// Why a claim is no session.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClaimError {
    /// Something is missing or malformed.
    #[error("{0}")]
    Unreadable(String),
    /// The hash belongs to another owner, repository or branch.
    #[error("its hash is not that of its owner, repository and branch")]
    HashMismatch,
}

impl From<InvalidName> for ClaimError {
    fn from(error: InvalidName) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// Reads the session. A hash is a key and proves nothing, so it is compared with what it was made of; the
/// hash of a session without a repository is random.
///
/// # Errors
/// [`ClaimError`]
pub fn session(pvc: &PersistentVolumeClaim) -> Result<Session, ClaimError> {
    let value = |key| value(&pvc.metadata, key);
    let missing = |what: &str| ClaimError::Unreadable(format!("it has no {what}"));
    let hash = hash_of(&pvc.metadata).ok_or_else(|| missing("session hash"))?;
    let owner = Identity::parse(value("user-email").ok_or_else(|| missing("owner"))?)?;
    let source = match (value("repo-url"), value("branch")) {
        (Some(url), Some(branch)) if !url.is_empty() => Source::Repository {
            // The address was allowed when the session was created.
            url: RepoUrl::parse(url, RepoPolicy { ssh_and_git: true, local_paths: false })?,
            branch: GitRef::parse(branch)?,
            from: value("source-branch").filter(|from| !from.is_empty()).map(GitRef::parse).transpose()?,
        },
        _ => Source::Empty,
    };
    if let Source::Repository { url, branch, .. } = &source
        && SessionHash::of(&owner, url, branch) != hash
    {
        return Err(ClaimError::HashMismatch);
    }
    let created = pvc.metadata.creation_timestamp.as_ref().map(|at| at.0.into());
    Ok(Session {
        hash,
        owner,
        source,
        initial_message: value("initial-message").filter(|text| !text.is_empty()).map(str::to_owned),
        created_at: time(value("created-at")).or(created).unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

/// Returns whether two sessions have the same owner, repository and branch.
#[must_use]
pub fn is_same(one: &Session, other: &Session) -> bool {
    let repository = |session: &Session| match &session.source {
        Source::Repository { url, branch, .. } => Some((url.clone(), branch.clone())),
        Source::Empty => None,
    };
    one.owner == other.owner && repository(one) == repository(other)
}

/// Returns the ports that the run with this id has reported.
pub(super) fn reported_ports(pvc: &PersistentVolumeClaim, run_id: &str) -> Vec<u16> {
    let report = value(&pvc.metadata, PORTS_KEY).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let Some(report) = report.filter(|report| report["run"] == run_id) else { return Vec::new() };
    let ports = report["ports"].as_array().into_iter().flatten();
    ports.filter_map(|port| u16::try_from(port.as_u64()?).ok()).take(MAX_PORTS).collect()
}

/// Returns the latest activity. The TypeScript router wrote it on the Pod only.
#[must_use]
pub fn last_activity(pvc: &PersistentVolumeClaim, pod: Option<&Pod>, session: &Session) -> SystemTime {
    let latest = activity(&pvc.metadata).max(pod.and_then(|pod| activity(&pod.metadata)));
    latest.map_or(session.created_at, |at| at.max(session.created_at))
}

/// Returns whether the first prompt was sent. The TypeScript router sent it without a record of that.
#[must_use]
pub fn first_prompt_sent(pvc: &PersistentVolumeClaim) -> bool {
    value(&pvc.metadata, FIRST_PROMPT_SENT_KEY).is_some() || value(&pvc.metadata, DESIRED_KEY).is_none()
}

/// Returns the desired run, if its Pod needs the Secret with the GitHub token.
pub(super) fn awaited_token(pvc: &PersistentVolumeClaim) -> Option<&str> {
    let awaited = value(&pvc.metadata, AWAITED_TOKEN_KEY)?;
    match Desired::of(pvc, None).state {
        DesiredState::Running(run) if run == awaited => Some(awaited),
        _ => None,
    }
}

/// Returns who the session's commits are by, as the last start that knew it wrote it.
#[must_use]
pub fn git_author(pvc: &PersistentVolumeClaim, session: &Session) -> GitAuthor {
    let written = value(&pvc.metadata, GIT_AUTHOR_KEY).and_then(GitAuthor::parse);
    written.unwrap_or_else(|| GitAuthor::of(&session.owner))
}

/// Returns the tokens for `opencode attach`. An annotation that can't be read holds none.
#[must_use]
pub fn attach_tokens(pvc: &PersistentVolumeClaim) -> Arc<AttachTokens> {
    let stored = value(&pvc.metadata, ATTACH_TOKENS_KEY).and_then(|text| serde_json::from_str(text).ok());
    from_persisted(stored.unwrap_or_default(), value(&pvc.metadata, ATTACH_PASSWORD_KEY))
}

/// Returns the annotations to write for these tokens; those with an empty value are removed.
#[must_use]
pub fn with_attach_tokens(tokens: &AttachTokens) -> Vec<(&'static str, String)> {
    let stored = to_persisted(tokens);
    let stored = if stored.is_empty() {
        String::new()
    } else {
        // Strings and times always have a JSON form.
        serde_json::to_string(&stored).unwrap_or_default()
    };
    let mut annotations = vec![(ATTACH_TOKENS_KEY, stored)];
    if !tokens.has_original_password() {
        annotations.push((ATTACH_PASSWORD_KEY, String::new()));
    }
    annotations
}

/// Returns whether a claim has later activity, or another desired state, than an earlier version of it.
#[must_use]
pub fn is_newer(current: &PersistentVolumeClaim, earlier: &PersistentVolumeClaim) -> bool {
    let desired = |pvc: &PersistentVolumeClaim| value(&pvc.metadata, DESIRED_KEY).map(str::to_owned);
    current.metadata.uid != earlier.metadata.uid
        || activity(&current.metadata) > activity(&earlier.metadata)
        || desired(current) != desired(earlier)
}

/// Returns the annotations to write with a new desired state. On a claim of the TypeScript router, they
/// include what the new state would hide.
#[must_use]
pub fn with_desired(
    pvc: &PersistentVolumeClaim,
    pod: Option<&Pod>,
    desired: &Desired,
) -> Vec<(&'static str, String)> {
    let mut annotations = vec![(DESIRED_KEY, desired.to_annotation())];
    if first_prompt_sent(pvc) {
        annotations.push((FIRST_PROMPT_SENT_KEY, "true".into()));
    }
    let of_pod = pod.and_then(|pod| activity(&pod.metadata));
    if let Some(at) = of_pod.filter(|_| of_pod > activity(&pvc.metadata)) {
        annotations.push((ACTIVITY_KEY, rfc3339(at)));
    }
    annotations
}

fn activity(meta: &ObjectMeta) -> Option<SystemTime> {
    time(value(meta, ACTIVITY_KEY))
}

fn value<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(&annotation(key)).map(String::as_str)
}

fn time(text: Option<&str>) -> Option<SystemTime> {
    text?.parse::<Timestamp>().ok().map(Into::into)
}
