//! The desired state of a session: an annotation of its claim, so that it outlasts every router and all
//! routers see it.
//!
//! | `opencode.ai/wanted` | means |
//! |---|---|
//! | `{"state":"running","run":…,"at":…}` | one Pod, which carries this `run` |
//! | `{"state":"stopped","reason":…,"at":…}` | no Pod |
//! | `{"state":"failed","code":…,…,"at":…}` | no Pod, because of this failure |
//! | none | a session of the TypeScript router: nothing changes by itself |
//!
//! To delete a session, its claim is deleted. See docs/adr/0005.

use std::time::SystemTime;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde::{Deserialize, Serialize};

use super::objects::names::annotation;
use crate::{
    model::{Failure, Phase, StopReason},
    persisted::PersistedState,
};

/// The annotation's key, after `opencode.ai/`.
pub const DESIRED_KEY: &str = "wanted";
/// The key of the Pod's annotation with the run that the Pod was created for.
pub const RUN_KEY: &str = "run";

/// A desired state, and since when it is desired.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// The state.
    pub state: DesiredState,
    /// Since when; `None` if the TypeScript router left no time.
    pub since: Option<SystemTime>,
}

/// The desired state of a session that is kept.
#[derive(Debug, Clone, PartialEq)]
pub enum DesiredState {
    /// A Pod of this run.
    Running(String),
    /// No Pod.
    Stopped(StopReason),
    /// No Pod, since the last one failed.
    Failed(Failure),
    /// The current state, until somebody gives a command.
    Unmanaged,
}

impl DesiredState {
    /// Returns whether the session has or gets a Pod.
    fn has_pod(&self, pod_exists: bool) -> bool {
        match self {
            Self::Running(_) => true,
            Self::Unmanaged => pod_exists,
            Self::Stopped(_) | Self::Failed(_) => false,
        }
    }

    /// Returns whether a start changes nothing, because the session runs or starts already.
    #[must_use]
    pub fn is_started(&self, pod_exists: bool, phase: Option<&Phase>) -> bool {
        self.has_pod(pod_exists) && !matches!(phase, Some(Phase::Failed(_)))
    }

    /// Returns the desired state after a stop; `None` if there is nothing to stop. A session whose start is
    /// blocked by a failure stays failed, and is not tried again.
    #[must_use]
    pub fn after_stop(&self, pod_exists: bool, phase: Option<&Phase>, reason: StopReason) -> Option<Self> {
        self.has_pod(pod_exists).then(|| match phase {
            Some(Phase::Failed(failure)) => Self::Failed(failure.clone()),
            _ => Self::Stopped(reason),
        })
    }
}

impl Desired {
    /// Creates the desired state of a new run.
    #[must_use]
    pub fn new_run(now: SystemTime) -> Self {
        Self { state: DesiredState::Running(format!("{:016x}", rand::random::<u64>())), since: Some(now) }
    }

    /// Reads the claim. A Pod without a run that is younger than the claim's annotation was created by the
    /// TypeScript router, which ran in between; then the annotation is outdated.
    #[must_use]
    pub fn of(pvc: &PersistentVolumeClaim, pod: Option<&Pod>) -> Self {
        let text = pvc.metadata.annotations.as_ref().and_then(|all| all.get(&annotation(DESIRED_KEY)));
        let document = text.and_then(|text| serde_json::from_str::<Document>(text).ok());
        let unmanaged = |since| Self { state: DesiredState::Unmanaged, since };
        let desired = document.map_or(unmanaged(None), Document::into_desired);
        let foreign = pod.filter(|pod| run_of(pod).is_none() && pod.metadata.deletion_timestamp.is_none());
        let created = foreign.and_then(|pod| pod.metadata.creation_timestamp.as_ref()).map(|at| at.0.into());
        if created > desired.since && created.is_some() { unmanaged(created) } else { desired }
    }

    /// Returns the annotation's value.
    #[must_use]
    pub fn to_annotation(&self) -> String {
        let at = self.since.and_then(|at| Timestamp::try_from(at).ok()).unwrap_or_default();
        let state = match &self.state {
            DesiredState::Running(run) => PersistedState::Running { run: Some(run.clone()) },
            DesiredState::Stopped(reason) => PersistedState::Stopped { reason: *reason },
            DesiredState::Failed(failure) => PersistedState::Failed(failure.clone()),
            DesiredState::Unmanaged => return String::new(),
        };
        serde_json::to_string(&Document { state, at }).unwrap_or_default()
    }
}

/// Returns the run that a Pod was created for; `None` for a Pod of the TypeScript router.
#[must_use]
pub fn run_of(pod: &Pod) -> Option<&str> {
    pod.metadata.annotations.as_ref()?.get(&annotation(RUN_KEY)).map(String::as_str)
}

/// The annotation's document.
#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(flatten)]
    state: PersistedState,
    at: Timestamp,
}

impl Document {
    fn into_desired(self) -> Desired {
        let state = match self.state {
            PersistedState::Running { run: Some(run) } => DesiredState::Running(run),
            PersistedState::Running { run: None } => {
                return Desired { state: DesiredState::Unmanaged, since: None };
            }
            PersistedState::Stopped { reason } => DesiredState::Stopped(reason),
            PersistedState::Failed(failure) => DesiredState::Failed(failure),
        };
        Desired { state, since: Some(self.at.into()) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::FailureCode;

    fn claim(value: Option<&str>) -> PersistentVolumeClaim {
        let annotations: Value = value.map_or(json!({}), |value| json!({ "opencode.ai/wanted": value }));
        serde_json::from_value(json!({ "metadata": { "annotations": annotations } })).unwrap()
    }

    fn pod(created: &str, run: Option<&str>) -> Pod {
        let annotations = run.map_or(json!({}), |run| json!({ "opencode.ai/run": run }));
        serde_json::from_value(
            json!({ "metadata": { "creationTimestamp": created, "annotations": annotations } }),
        )
        .unwrap()
    }

    fn at() -> SystemTime {
        "2026-11-23T10:00:00.123Z".parse::<Timestamp>().unwrap().into()
    }

    #[test]
    fn a_desired_state_is_read_back_as_it_was_written() {
        let failures = FailureCode::ALL.map(|code| {
            let log_tail = (code == FailureCode::CloneFailed).then(|| "fatal: \"x\"\n🦀".to_owned());
            DesiredState::Failed(Failure {
                code,
                message: "It broke.".into(),
                advice: "Fix it.".into(),
                log_tail,
            })
        });
        let stops = StopReason::ALL.map(DesiredState::Stopped);
        for state in [DesiredState::Running("r1".into())].into_iter().chain(stops).chain(failures) {
            let desired = Desired { state, since: Some(at()) };
            assert_eq!(Desired::of(&claim(Some(&desired.to_annotation())), None), desired);
        }
    }

    #[test]
    fn a_missing_or_unknown_state_leaves_the_session_unmanaged() {
        for value in [None, Some(""), Some("{}"), Some(r#"{"state":"asleep"}"#)] {
            assert_eq!(Desired::of(&claim(value), None).state, DesiredState::Unmanaged, "{value:?}");
        }
    }

    #[test]
    fn a_younger_pod_of_the_typescript_router_outdates_the_annotation() {
        let stopped = Desired { state: DesiredState::Stopped(StopReason::Idle), since: Some(at()) };
        let claim = claim(Some(&stopped.to_annotation()));
        #[track_caller]
        fn check(claim: &PersistentVolumeClaim, pod: &Pod, is_outdated: bool) {
            assert_eq!(Desired::of(claim, Some(pod)).state == DesiredState::Unmanaged, is_outdated);
        }
        check(&claim, &pod("2026-11-23T11:00:00Z", None), true);
        check(&claim, &pod("2026-11-23T09:00:00Z", None), false);
        check(&claim, &pod("2026-11-23T11:00:00Z", Some("r1")), false);
        let mut deleted = pod("2026-11-23T11:00:00Z", None);
        deleted.metadata.deletion_timestamp = deleted.metadata.creation_timestamp.clone();
        check(&claim, &deleted, false);
    }
}
