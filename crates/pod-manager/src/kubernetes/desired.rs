//! What is wanted of a session: an annotation of its claim, so that it outlasts every router and all of them see it.
//!
//! | `opencode.ai/wanted` | means |
//! |---|---|
//! | `{"state":"running","run":…,"at":…}` | there is to be a Pod that carries this `run`, and no other |
//! | `{"state":"stopped","reason":…,"at":…}` | there is to be no Pod |
//! | `{"state":"failed","code":…,…,"at":…}` | there is to be no Pod; that is why |
//! | none | the TypeScript router's: what is there is as it is to be |
//!
//! That a session is to be deleted is said by deleting the claim. See docs/adr/0005.

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
pub const KEY: &str = "wanted";
/// The key of the Pod's annotation that holds the run it was made for.
pub const RUN_KEY: &str = "run";

/// What is wanted, and since when.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// The state.
    pub state: DesiredState,
    /// Since when; `None` where the TypeScript router left nothing of it.
    pub since: Option<SystemTime>,
}

/// What can be wanted of a session that is kept.
#[derive(Debug, Clone, PartialEq)]
pub enum DesiredState {
    /// A Pod of this run.
    Running(String),
    /// No Pod.
    Stopped(StopReason),
    /// No Pod, since the last one failed.
    Failed(Failure),
    /// What is there, until somebody asks for something.
    Unmanaged,
}

impl DesiredState {
    /// Whether there is a Pod that may stay, or is to be one.
    fn runs(&self, has_pod: bool) -> bool {
        match self {
            Self::Running(_) => true,
            Self::Unmanaged => has_pod,
            Self::Stopped(_) | Self::Failed(_) => false,
        }
    }

    /// Whether a start changes nothing: it runs, or is on its way.
    #[must_use]
    pub fn is_started(&self, has_pod: bool, phase: Option<&Phase>) -> bool {
        self.runs(has_pod) && !matches!(phase, Some(Phase::Failed(_)))
    }

    /// What a stop makes of it; `None`: there is nothing to stop. What failed, and still tries by itself, stays failed;
    /// and tries no more.
    #[must_use]
    pub fn stopped(&self, has_pod: bool, phase: Option<&Phase>, why: StopReason) -> Option<Self> {
        self.runs(has_pod).then(|| match phase {
            Some(Phase::Failed(failure)) => Self::Failed(failure.clone()),
            _ => Self::Stopped(why),
        })
    }
}

impl Desired {
    /// A new run, from now on.
    #[must_use]
    pub fn new_run(now: SystemTime) -> Self {
        Self { state: DesiredState::Running(format!("{:016x}", rand::random::<u64>())), since: Some(now) }
    }

    /// What the claim says. A Pod without a run that is younger than the claim's word was made by the TypeScript
    /// router, which was here in between: its word is the newer one.
    #[must_use]
    pub fn of(pvc: &PersistentVolumeClaim, pod: Option<&Pod>) -> Self {
        let text = pvc.metadata.annotations.as_ref().and_then(|all| all.get(&annotation(KEY)));
        let written = text.and_then(|text| serde_json::from_str::<Document>(text).ok());
        let wanted =
            written.map_or(Self { state: DesiredState::Unmanaged, since: None }, Document::into_desired);
        let foreign = pod.filter(|pod| run_of(pod).is_none() && pod.metadata.deletion_timestamp.is_none());
        let made = foreign.and_then(|pod| pod.metadata.creation_timestamp.as_ref()).map(|at| at.0.into());
        if made > wanted.since && made.is_some() {
            return Self { state: DesiredState::Unmanaged, since: made };
        }
        wanted
    }

    /// The annotation's value.
    #[must_use]
    pub fn write(&self) -> String {
        let at = self.since.and_then(|at| Timestamp::try_from(at).ok()).unwrap_or_default();
        let state = match &self.state {
            DesiredState::Running(run) => PersistedState::Running { run: Some(run.clone()) },
            DesiredState::Stopped(why) => PersistedState::Stopped { reason: *why },
            DesiredState::Failed(failure) => PersistedState::Failed(failure.clone()),
            DesiredState::Unmanaged => return String::new(),
        };
        serde_json::to_string(&Document { state, at }).unwrap_or_default()
    }
}

/// The run that a Pod was made for; `None` for one of the TypeScript router's.
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

    fn claim(word: Option<&str>) -> PersistentVolumeClaim {
        let annotations: Value = word.map_or(json!({}), |word| json!({ "opencode.ai/wanted": word }));
        serde_json::from_value(json!({ "metadata": { "annotations": annotations } })).unwrap()
    }

    fn pod(made: &str, run: Option<&str>) -> Pod {
        let annotations = run.map_or(json!({}), |run| json!({ "opencode.ai/run": run }));
        serde_json::from_value(
            json!({ "metadata": { "creationTimestamp": made, "annotations": annotations } }),
        )
        .unwrap()
    }

    fn at() -> SystemTime {
        "2026-11-23T10:00:00.123Z".parse::<Timestamp>().unwrap().into()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let failures = FailureCode::ALL.map(|code| {
            let log_tail = (code == FailureCode::CloneFailed).then(|| "fatal: \"x\"\n🦀".to_owned());
            DesiredState::Failed(Failure {
                code,
                message: "It broke.".into(),
                advice: "Mend it.".into(),
                log_tail,
            })
        });
        let stops = StopReason::ALL.map(DesiredState::Stopped);
        for state in [DesiredState::Running("r1".into())].into_iter().chain(stops).chain(failures) {
            let wanted = Desired { state, since: Some(at()) };
            assert_eq!(Desired::of(&claim(Some(&wanted.write())), None), wanted);
        }
    }

    #[test]
    fn a_word_that_is_missing_or_unknown_leaves_things_as_they_are() {
        for word in [None, Some(""), Some("{}"), Some(r#"{"state":"asleep"}"#)] {
            assert_eq!(Desired::of(&claim(word), None).state, DesiredState::Unmanaged, "{word:?}");
        }
    }

    #[test]
    fn a_pod_that_the_typescript_router_made_since_is_the_newer_word() {
        let stopped = Desired { state: DesiredState::Stopped(StopReason::Idle), since: Some(at()) };
        let claim = claim(Some(&stopped.write()));
        #[track_caller]
        fn check(claim: &PersistentVolumeClaim, pod: &Pod, is_newer: bool) {
            assert_eq!(Desired::of(claim, Some(pod)).state == DesiredState::Unmanaged, is_newer);
        }
        check(&claim, &pod("2026-11-23T11:00:00Z", None), true);
        check(&claim, &pod("2026-11-23T09:00:00Z", None), false);
        check(&claim, &pod("2026-11-23T11:00:00Z", Some("r1")), false);
        let mut going = pod("2026-11-23T11:00:00Z", None);
        going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
        check(&claim, &going, false);
    }
}
