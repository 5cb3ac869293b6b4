//! What the objects of a session say of it: a pure function of PersistentVolumeClaim, Pod and Events.
//!
//! The order of the questions in [`derive`] is the state machine: the first that is answered decides.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Event, PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{
    fields::{condition, container, event_time, wall},
    stages::stages,
};
use crate::model::{Failure, FailureCode, StageRecord};

/// How long the cluster may seek a node, or try to attach the volume, before that is told as a failure: a cluster may be making
/// a node, and a volume that moves is let go by its last node first.
const GRACE: Duration = Duration::from_secs(60);

/// What is there of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct PodStatus {
    /// How it stands.
    pub state: PodState,
    /// How far its start is, without the stage `Ready`, which the router alone can see.
    pub stages: Vec<StageRecord>,
}

/// How a session stands, as far as its objects tell.
#[derive(Debug, Clone, PartialEq)]
pub enum PodState {
    /// Storage, and no Pod.
    Stopped,
    /// The Pod is on its way.
    Starting,
    /// opencode's process runs; whether it answers is to be asked there.
    Running(RunningContainer),
    /// The Pod (or the storage) is being deleted.
    Stopping,
    /// Something stands in the way. It may go away by itself: kubelet and scheduler go on trying.
    Blocked(Failure),
    /// It came to nothing: this Pod is not to be tried again.
    Failed(Failure),
}

/// Where opencode's process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningContainer {
    /// The Pod's address.
    pub address: IpAddr,
    /// Names this process: the Pod's UID, and how often its container was started again.
    pub run_id: String,
    /// When it began.
    pub started_at: SystemTime,
}

/// Reads the objects, at the time `now`. `queued`: since when the start is wanted. `events` are those about the Pod or the claim, in any order.
#[must_use]
pub fn derive(
    pvc: &PersistentVolumeClaim,
    pod: Option<&Pod>,
    events: &[Event],
    queued: SystemTime,
    now: SystemTime,
) -> PodStatus {
    let mut stages = stages(queued, pod, events);
    let state = if pvc.metadata.deletion_timestamp.is_some() {
        PodState::Stopping
    } else if pvc_phase(pvc) == Some("Lost") {
        PodState::Blocked(failure(
            FailureCode::VolumeLost,
            "the session's volume is gone from the cluster",
            "Restore the PersistentVolume from a backup, or delete the session.",
        ))
    } else {
        pod.map_or(PodState::Stopped, |pod| of_pod(pvc, pod, events, now, &mut stages))
    };
    PodStatus { state, stages }
}

fn of_pod(
    pvc: &PersistentVolumeClaim,
    pod: &Pod,
    events: &[Event],
    now: SystemTime,
    stages: &mut [StageRecord],
) -> PodState {
    if node_is_lost(pod) {
        return PodState::Blocked(node_lost());
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return PodState::Stopping;
    }
    if let Some(failure) = ended(pod).or_else(|| init_failure(pod)).or_else(|| container_failure(pod)) {
        return PodState::Failed(failure);
    }
    if let Some(failure) = image_failure(pod) {
        return PodState::Blocked(failure);
    }
    if let Some(up) = running(pod) {
        return PodState::Running(up);
    }
    // What may take its time is a word on the present stage first, and a failure only after that.
    // A volume that can't be made is why no node is found, and not the other way round.
    let is_unbound = pvc_phase(pvc) == Some("Pending");
    let volume = || volume_failure(pod, events);
    let found = is_unbound.then(volume).flatten().or_else(|| unschedulable(pod)).or_else(volume);
    let found = found.or_else(|| waiting_failure(pod)).or_else(|| stuck(pod, events, now));
    let Some((since, failure)) = found else { return PodState::Starting };
    if now.duration_since(since).is_ok_and(|waited| waited >= GRACE) {
        return PodState::Blocked(failure);
    }
    if let Some(stage) = stages.iter_mut().find(|stage| stage.started.is_some() && stage.ended.is_none()) {
        stage.message = Some(failure.message);
    }
    PodState::Starting
}

fn image_failure(pod: &Pod) -> Option<Failure> {
    ["git-init", "opencode"].into_iter().find_map(|name| image_of(container(pod, name)?))
}

/// The Pod as a whole is over: evicted, or its node was shut down.
fn ended(pod: &Pod) -> Option<Failure> {
    let status = pod.status.as_ref()?;
    if !matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        return None;
    }
    Some(match status.reason.as_deref() {
        Some("Evicted") => failure(
            FailureCode::Evicted,
            &detail("the node needed its resources for others", status.message.as_deref()),
            "Resume the session: another node may have room. Its files are kept.",
        ),
        Some("NodeLost" | "NodeShutdown" | "Shutdown" | "Terminated") => node_lost(),
        _ => failure(
            FailureCode::BackendError,
            &detail("the Pod ended", status.message.as_deref()),
            "Resume the session. Its files are kept.",
        ),
    })
}

fn init_failure(pod: &Pod) -> Option<Failure> {
    let init = container(pod, "git-init")?;
    let state = init.state.as_ref()?;
    let ended = state.terminated.as_ref().or_else(|| {
        // Between two tries its last end is the news.
        state.waiting.as_ref()?;
        init.last_state.as_ref()?.terminated.as_ref()
    })?;
    if ended.exit_code == 0 {
        return None;
    }
    if ended.reason.as_deref() == Some("OOMKilled") {
        return Some(out_of_memory("cloning the repository"));
    }
    Some(failure(
        FailureCode::CloneFailed,
        &format!("git could not bring the repository (exit code {})", ended.exit_code),
        "The log says what git said; try again once that is mended.",
    ))
}

fn container_failure(pod: &Pod) -> Option<Failure> {
    let opencode = container(pod, "opencode")?;
    let state = opencode.state.as_ref()?;
    let ended = match (&state.terminated, &state.waiting) {
        (Some(ended), _) => ended,
        (None, Some(_)) => opencode.last_state.as_ref()?.terminated.as_ref()?,
        (None, None) => return None,
    };
    // One end is restarted at once; from the back-off on it is a failure.
    let backing_off =
        state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref()) == Some("CrashLoopBackOff");
    if backing_off && ended.reason.as_deref() == Some("OOMKilled") {
        return Some(out_of_memory("its work"));
    }
    backing_off.then(|| {
        failure(
            FailureCode::OpencodeCrashed,
            &format!(
                "opencode ended {} times, at last with exit code {}",
                opencode.restart_count, ended.exit_code
            ),
            "The log says why; resume the session to try again.",
        )
    })
}

/// An image that does not come; kubelet goes on trying.
fn image_of(status: &ContainerStatus) -> Option<Failure> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let message = waiting.message.as_deref();
    match waiting.reason.as_deref()? {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable" => Some(failure(
            FailureCode::ImagePullFailed,
            &detail(&format!("the image {} can't be pulled", status.image), message),
            "Check OPENCODE_IMAGE and IMAGE_PULL_SECRET_NAME.",
        )),
        _ => None,
    }
}

/// What kubelet waits for that a person may have to mend: of any container, also those of the operator's patch. It tries
/// again by itself, and often that is all it takes.
fn waiting_failure(pod: &Pod) -> Option<(SystemTime, Failure)> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let what = all.into_iter().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        let what = match reason {
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => "can't be made",
            "CrashLoopBackOff" => "ends again and again",
            _ if image_of(container).is_some() => "has no image",
            _ => return None,
        };
        Some(detail(
            &format!("the container {} {what}", container.name),
            waiting.message.as_deref().or(Some(reason)),
        ))
    })?;
    let advice = "Check the image, the ConfigMap and the Secrets that the Pod names, and the Pod's patch.";
    // Of what comes after the clone, the clone's time is none.
    let cloned = container(pod, "git-init")
        .and_then(|init| init.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    let since = cloned.or(pod.metadata.creation_timestamp.as_ref()).map_or(SystemTime::UNIX_EPOCH, wall);
    Some((since, failure(FailureCode::BackendError, &what, advice)))
}

/// No container has begun, and the cluster warns of something, whatever it is, up to now.
fn stuck(pod: &Pod, events: &[Event], now: SystemTime) -> Option<(SystemTime, Failure)> {
    let status = pod.status.as_ref();
    let statuses = status.iter().flat_map(|status| status.init_container_statuses.iter().flatten());
    let mut begun = statuses.filter_map(|container| container.state.as_ref());
    if begun.any(|state| state.running.is_some() || state.terminated.is_some()) {
        return None;
    }
    let since = pod.metadata.creation_timestamp.as_ref()?;
    let lately =
        |at: jiff::Timestamp| now.duration_since(wall(&Time(at))).map_or(true, |ago| ago < 2 * GRACE);
    let event = events
        .iter()
        .filter(|event| event.type_.as_deref() == Some("Warning") && event_time(event) >= Some(since.0))
        .filter(|event| event_time(event).is_some_and(lately))
        .max_by_key(|event| event_time(event))?;
    // Mounts are told by `volume_failure`, and over once the sandbox stands.
    if matches!(event.reason.as_deref(), Some("FailedMount" | "FailedAttachVolume")) {
        return None;
    }
    let what = detail("the cluster does not get the Pod going", event.message.as_deref());
    let advice =
        "WorkItem at the Pod's Events (kubectl describe pod): it starts by itself once that is mended.";
    Some((wall(since), failure(FailureCode::BackendError, &what, advice)))
}

fn running(pod: &Pod) -> Option<RunningContainer> {
    let opencode = container(pod, "opencode")?;
    let running = opencode.state.as_ref()?.running.as_ref()?;
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let made = pod.metadata.creation_timestamp.as_ref();
    Some(RunningContainer {
        address: pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()?,
        run_id: format!("{uid}-{}", opencode.restart_count),
        started_at: running.started_at.as_ref().or(made).map_or(SystemTime::UNIX_EPOCH, wall),
    })
}

fn unschedulable(pod: &Pod) -> Option<(SystemTime, Failure)> {
    let condition = condition(pod, "PodScheduled").filter(|condition| condition.status == "False")?;
    let since = pod.metadata.creation_timestamp.as_ref().map_or(SystemTime::UNIX_EPOCH, wall);
    let message = condition.message.as_deref();
    if message.is_some_and(|message| message.contains("unbound immediate PersistentVolumeClaims")) {
        let what = detail("the session's volume is not there yet", message);
        let advice = "Check STORAGE_CLASS and the cluster's storage (kubectl describe pvc).";
        return Some((since, failure(FailureCode::VolumeUnavailable, &what, advice)));
    }
    (condition.reason.as_deref() == Some("Unschedulable")).then(|| {
        let failure = failure(
            FailureCode::Unschedulable,
            &detail("no node takes the session", condition.message.as_deref()),
            "It starts by itself once a node has room; stop other sessions or add a node.",
        );
        (since, failure)
    })
}

fn volume_failure(pod: &Pod, events: &[Event]) -> Option<(SystemTime, Failure)> {
    // Once the volume is there, what was said of it is over.
    if condition(pod, "PodReadyToStartContainers").is_some_and(|condition| condition.status == "True") {
        return None;
    }
    let since = pod.metadata.creation_timestamp.as_ref().map(|Time(at)| *at);
    let event = events
        .iter()
        .filter(|event| event.type_.as_deref() == Some("Warning") && event_time(event) >= since)
        .filter(|event| {
            matches!(
                event.reason.as_deref(),
                Some("FailedAttachVolume" | "FailedMount" | "ProvisioningFailed" | "FailedBinding")
            )
        })
        .max_by_key(|event| event_time(event))?;
    let message = event.message.as_deref();
    let advice = if message.is_some_and(|message| message.contains("Multi-Attach")) {
        "The volume is still attached to another node; it starts by itself once that node lets go."
    } else {
        "Check STORAGE_CLASS and the cluster's storage."
    };
    let what = detail("the session's volume can't be made or attached", message);
    let begun = pod.metadata.creation_timestamp.as_ref().map_or(SystemTime::UNIX_EPOCH, wall);
    Some((begun, failure(FailureCode::VolumeUnavailable, &what, advice)))
}

fn node_is_lost(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("NodeLost")
        || condition(pod, "DisruptionTarget").is_some_and(|condition| {
            condition.status == "True" && condition.reason.as_deref() == Some("DeletionByTaintManager")
        })
}

fn node_lost() -> Failure {
    failure(
        FailureCode::NodeLost,
        "the node that the session ran on is gone, or was taken out of use",
        "It can start on another node once the cluster has let this Pod go: by itself within minutes where the node answers, else once the node is back or removed (kubectl delete node).",
    )
}

fn out_of_memory(doing: &str) -> Failure {
    failure(
        FailureCode::OutOfMemory,
        &format!("the session needed more memory for {doing} than it may have"),
        "Raise the memory limit, or let it do less at once; resume the session.",
    )
}

fn failure(code: FailureCode, message: &str, advice: &str) -> Failure {
    Failure { code, message: sentence(message), advice: advice.to_owned(), log_tail: None }
}

/// With a capital (but for the names of programs) and an end.
fn sentence(text: &str) -> String {
    let mut letters = text.trim_end_matches('.').chars();
    let is_name = text.starts_with("opencode") || text.starts_with("git ");
    match letters.next() {
        Some(first) if !is_name => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        Some(first) => format!("{first}{}.", letters.as_str()),
        None => String::new(),
    }
}

fn detail(what: &str, why: Option<&str>) -> String {
    why.filter(|why| !why.is_empty()).map_or_else(|| what.to_owned(), |why| format!("{what}: {why}"))
}

fn pvc_phase(pvc: &PersistentVolumeClaim) -> Option<&str> {
    pvc.status.as_ref()?.phase.as_deref()
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
