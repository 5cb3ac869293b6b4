//! A session as it is written on its claim, read back.

use std::time::SystemTime;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};

use super::{
    desired::{DESIRED_KEY, Desired},
    objects::names::{HASH_LABEL, annotation, rfc3339},
};
use crate::model::{Session, Source};

/// The key of the annotation that says that the first prompt was sent.
pub const FIRST_PROMPT_SENT_KEY: &str = "greeted";
/// The key of the annotation with the latest activity.
pub const ACTIVITY_KEY: &str = "last-activity";

/// Returns the session's hash, from the label.
#[must_use]
pub fn hash_of(meta: &ObjectMeta) -> Option<SessionHash> {
    SessionHash::parse(meta.labels.as_ref()?.get(HASH_LABEL)?).ok()
}

/// Reads the session.
///
/// # Errors
/// What of the claim can't be read.
pub fn session(pvc: &PersistentVolumeClaim) -> Result<Session, String> {
    let value = |key| value(&pvc.metadata, key);
    let text = |error: session_key::InvalidName| error.to_string();
    let hash = hash_of(&pvc.metadata).ok_or("it has no session hash")?;
    let owner = Identity::parse(value("user-email").ok_or("it has no owner")?).map_err(text)?;
    let source = match (value("repo-url"), value("branch")) {
        (Some(url), Some(branch)) if !url.is_empty() => Source::Repository {
            // The address was allowed when the session was created.
            url: RepoUrl::parse(url, RepoPolicy { ssh_and_git: true, local_paths: false }).map_err(text)?,
            branch: GitRef::parse(branch).map_err(text)?,
            from: value("source-branch")
                .filter(|from| !from.is_empty())
                .map(GitRef::parse)
                .transpose()
                .map_err(text)?,
        },
        _ => Source::Empty,
    };
    let created = pvc.metadata.creation_timestamp.as_ref().map(|at| at.0.into());
    Ok(Session {
        hash,
        owner,
        source,
        initial_message: value("initial-message").filter(|text| !text.is_empty()).map(str::to_owned),
        created_at: time(value("created-at")).or(created).unwrap_or(SystemTime::UNIX_EPOCH),
    })
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

/// Returns whether a claim has later activity, or another desired state, than an earlier version of it.
#[must_use]
pub fn is_newer(current: &PersistentVolumeClaim, earlier: &PersistentVolumeClaim) -> bool {
    let desired = |pvc: &PersistentVolumeClaim| value(&pvc.metadata, DESIRED_KEY).map(str::to_owned);
    current.metadata.uid != earlier.metadata.uid
        || activity(&current.metadata) > activity(&earlier.metadata)
        || desired(current) != desired(earlier)
}

/// Returns the annotations to write with a new desired state. On a claim of the TypeScript router, they include what
/// the new state would hide.
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
