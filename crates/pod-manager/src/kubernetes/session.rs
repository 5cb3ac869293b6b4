//! What is written down of a session, read back from its objects.

use std::time::SystemTime;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use session_key::{GitRef, Identity, RepoPolicy, RepoUrl, SessionHash};

use super::{
    desired,
    objects::names::{HASH_LABEL, annotation, rfc3339},
};
use crate::model::{Session, Source};

/// The key of the annotation that says that the initial message was handed over.
pub const GREETED_KEY: &str = "greeted";
/// The key of the annotation with the newest activity.
pub const ACTIVITY_KEY: &str = "last-activity";

/// The session's hash, by its label.
#[must_use]
pub fn hash_of(meta: &ObjectMeta) -> Option<SessionHash> {
    SessionHash::parse(meta.labels.as_ref()?.get(HASH_LABEL)?).ok()
}

/// The session as it was asked for.
///
/// # Errors
/// A sentence on what of the claim can't be read.
pub fn session(pvc: &PersistentVolumeClaim) -> Result<Session, String> {
    let annotation_of = |key| annotation_of(&pvc.metadata, key);
    let text = |error: session_key::InvalidName| error.to_string();
    let hash = hash_of(&pvc.metadata).ok_or("it has no session hash")?;
    let owner =
        Identity::parse(annotation_of("user-email").ok_or("it does not say whose it is")?).map_err(text)?;
    let source = match (annotation_of("repo-url"), annotation_of("branch")) {
        (Some(url), Some(branch)) if !url.is_empty() => Source::Repository {
            // It was let in once.
            url: RepoUrl::parse(url, RepoPolicy { ssh_and_git: true, local_paths: false }).map_err(text)?,
            branch: GitRef::parse(branch).map_err(text)?,
            from: annotation_of("source-branch")
                .filter(|from| !from.is_empty())
                .map(GitRef::parse)
                .transpose()
                .map_err(text)?,
        },
        _ => Source::Empty,
    };
    let made = pvc.metadata.creation_timestamp.as_ref().map(|at| at.0.into());
    Ok(Session {
        hash,
        owner,
        source,
        initial_message: annotation_of("initial-message").filter(|text| !text.is_empty()).map(str::to_owned),
        created_at: time(annotation_of("created-at")).or(made).unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

/// The newest activity: the TypeScript router kept it on the Pod only.
#[must_use]
pub fn last_activity(pvc: &PersistentVolumeClaim, pod: Option<&Pod>, session: &Session) -> SystemTime {
    let of = |meta: &ObjectMeta| time(annotation_of(meta, ACTIVITY_KEY));
    of(&pvc.metadata)
        .max(pod.and_then(|pod| of(&pod.metadata)))
        .map_or(session.created_at, |at| at.max(session.created_at))
}

/// Whether the initial message was handed over. The TypeScript router did that itself, and left no word of it.
#[must_use]
pub fn greeted(pvc: &PersistentVolumeClaim) -> bool {
    annotation_of(&pvc.metadata, GREETED_KEY).is_some()
        || annotation_of(&pvc.metadata, desired::KEY).is_none()
}

/// Whether a claim tells of activity that an older sight of it does not, or of something else being desired.
#[must_use]
pub fn is_newer(now: &PersistentVolumeClaim, before: &PersistentVolumeClaim) -> bool {
    let activity = |pvc: &PersistentVolumeClaim| time(annotation_of(&pvc.metadata, ACTIVITY_KEY));
    let desired = |pvc: &PersistentVolumeClaim| annotation_of(&pvc.metadata, desired::KEY).map(str::to_owned);
    now.metadata.uid != before.metadata.uid
        || activity(now) > activity(before)
        || desired(now) != desired(before)
}

/// The annotations to write with a new word on what is wanted: of a claim of the TypeScript router's, what would not be known any more.
#[must_use]
pub fn with_desired(
    pvc: &PersistentVolumeClaim,
    pod: Option<&Pod>,
    desired: &desired::Desired,
) -> Vec<(&'static str, String)> {
    let mut annotations = vec![(desired::KEY, desired.write())];
    if greeted(pvc) {
        annotations.push((GREETED_KEY, "true".into()));
    }
    let of = |meta: &ObjectMeta| time(annotation_of(meta, ACTIVITY_KEY));
    let of_pod = pod.and_then(|pod| of(&pod.metadata));
    if let Some(activity) = of_pod.filter(|_| of_pod > of(&pvc.metadata)) {
        annotations.push((ACTIVITY_KEY, rfc3339(activity)));
    }
    annotations
}

fn annotation_of<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(&annotation(key)).map(String::as_str)
}

fn time(text: Option<&str>) -> Option<SystemTime> {
    text?.parse::<Timestamp>().ok().map(Into::into)
}
