//! The failures that a session's objects show: what happened and what to do, in sentences for people.

use std::time::{Duration, SystemTime};

use k8s_openapi::{
    api::core::v1::{ContainerStateTerminated, ContainerStatus, Event, PersistentVolumeClaim, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::fields::{condition, container, created_at, event_time, is_true, wall};
use crate::model::{Failure, FailureCode};

/// The message of a container that ended before serve.sh started opencode.
const PREPARING: &str = "opencode-router: preparing";

/// A failure that may go away by itself.
pub(super) struct Delay {
    pub(super) since: SystemTime,
    pub(super) failure: Failure,
}

pub(super) fn volume_lost() -> Failure {
    failure(
        FailureCode::VolumeLost,
        "The session's volume no longer exists in the cluster",
        "Restore the PersistentVolume from a backup, or delete the session.",
    )
}

pub(super) fn node_lost() -> Failure {
    failure(
        FailureCode::NodeLost,
        "The session's node is gone or was taken out of service",
        "The session can start on another node once the cluster has released this Pod: within minutes if the node \
         responds, else after the node is back or was removed (kubectl delete node).",
    )
}

fn out_of_memory(doing: &str) -> Failure {
    failure(
        FailureCode::OutOfMemory,
        &format!("The session ran out of memory {doing}"),
        "Raise the memory limit (SESSION_LIMITS), or let the session do less at once; then resume it.",
    )
}

/// Returns whether the Pod's node is gone.
pub(super) fn is_node_lost(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("NodeLost")
        || condition(pod, "DisruptionTarget").is_some_and(|condition| {
            condition.status == "True" && condition.reason.as_deref() == Some("DeletionByTaintManager")
        })
}

/// Returns why the Pod has failed for good.
pub(super) fn of_pod(pod: &Pod) -> Option<Failure> {
    ended(pod).or_else(|| clone(pod)).or_else(|| crash_loop(pod))
}

/// The Pod as a whole has ended: it was evicted, or its node was shut down.
fn ended(pod: &Pod) -> Option<Failure> {
    let status = pod.status.as_ref()?;
    if !matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
        return None;
    }
    let message = status.message.as_deref();
    Some(match status.reason.as_deref() {
        Some("Evicted") => failure(
            FailureCode::Evicted,
            &with_detail("The node evicted the session", message),
            "Resume the session: another node may have room. Its files are kept.",
        ),
        Some("NodeLost" | "NodeShutdown" | "Shutdown" | "Terminated") => node_lost(),
        _ => failure(
            FailureCode::BackendError,
            &with_detail("The Pod ended", message),
            "Resume the session. Its files are kept.",
        ),
    })
}

/// The repository could not be prepared: in the container of opencode, or in an init container.
fn clone(pod: &Pod) -> Option<Failure> {
    let ended = container(pod, "git-init").and_then(last_end);
    let ended =
        ended.or_else(|| last_end(container(pod, "opencode")?).filter(|ended| was_preparing(ended)))?;
    if ended.exit_code == 0 {
        return None;
    }
    if ended.reason.as_deref() == Some("OOMKilled") {
        return Some(out_of_memory("while cloning the repository"));
    }
    Some(failure(
        FailureCode::CloneFailed,
        &format!("Cloning failed (git exited with {})", ended.exit_code),
        "The log has git's own words. Fix the cause, then resume the session.",
    ))
}

/// Returns how the container has ended. Between two attempts, the last one counts.
fn last_end(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let state = container.state.as_ref()?;
    state.terminated.as_ref().or_else(|| {
        state.waiting.as_ref()?;
        container.last_state.as_ref()?.terminated.as_ref()
    })
}

/// Returns whether the container ended before serve.sh started opencode.
fn was_preparing(ended: &ContainerStateTerminated) -> bool {
    ended.message.as_deref().is_some_and(|message| message.starts_with(PREPARING))
}

fn crash_loop(pod: &Pod) -> Option<Failure> {
    let opencode = container(pod, "opencode")?;
    let state = opencode.state.as_ref()?;
    let ended = last_end(opencode)?;
    // The first crash is restarted at once; it is a failure from the first back-off on.
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
    if waiting != Some("CrashLoopBackOff") {
        return None;
    }
    if ended.reason.as_deref() == Some("OOMKilled") {
        return Some(out_of_memory("while it was working"));
    }
    let (count, code) = (opencode.restart_count, ended.exit_code);
    Some(failure(
        FailureCode::OpencodeCrashed,
        &format!("opencode crashed {count} times; its last exit code was {code}"),
        "The log says why. Resume the session to try again.",
    ))
}

/// Returns the image that can't be pulled; kubelet continues to try.
pub(super) fn image_pull(pod: &Pod) -> Option<Failure> {
    ["git-init", "opencode"].into_iter().find_map(|name| image_pull_of(container(pod, name)?))
}

fn image_pull_of(status: &ContainerStatus) -> Option<Failure> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    match waiting.reason.as_deref()? {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable" => Some(failure(
            FailureCode::ImagePullFailed,
            &with_detail(&format!("The image {} can't be pulled", status.image), waiting.message.as_deref()),
            "Check OPENCODE_IMAGE and IMAGE_PULL_SECRET_NAME.",
        )),
        _ => None,
    }
}

/// Returns what delays the start of a Pod. Warnings older than `max_age` do not count.
pub(super) fn delay(
    pvc: &PersistentVolumeClaim,
    pod: &Pod,
    events: &[Event],
    now: SystemTime,
    max_age: Duration,
) -> Option<Delay> {
    // A volume that can't be provisioned is why no node is found, and not the other way round.
    let is_unbound = pvc_phase(pvc) == Some("Pending");
    let volume = || volume(pod, events);
    let found = is_unbound.then(volume).flatten().or_else(|| unschedulable(pod)).or_else(volume);
    found.or_else(|| waiting_container(pod)).or_else(|| warning(pod, events, now, max_age))
}

fn unschedulable(pod: &Pod) -> Option<Delay> {
    let condition = condition(pod, "PodScheduled").filter(|condition| condition.status == "False")?;
    let message = condition.message.as_deref();
    if message.is_some_and(|message| message.contains("unbound immediate PersistentVolumeClaims")) {
        let what = with_detail("The session's volume does not exist yet", message);
        let advice = "Check STORAGE_CLASS and the cluster's storage (kubectl describe pvc).";
        return Some(since_creation(pod, failure(FailureCode::VolumeUnavailable, &what, advice)));
    }
    (condition.reason.as_deref() == Some("Unschedulable")).then(|| {
        let what = with_detail("No node accepts the session", message);
        let advice = "It starts by itself once a node has room. Stop other sessions, or add a node.";
        since_creation(pod, failure(FailureCode::Unschedulable, &what, advice))
    })
}

fn volume(pod: &Pod, events: &[Event]) -> Option<Delay> {
    // A warning about the volume is over once the volume is mounted.
    if is_true(pod, "PodReadyToStartContainers") {
        return None;
    }
    let is_about_volume = |event: &&Event| {
        let reason = event.reason.as_deref();
        matches!(reason, Some("FailedAttachVolume" | "FailedMount" | "ProvisioningFailed" | "FailedBinding"))
    };
    let event = warnings(pod, events).filter(is_about_volume).max_by_key(|event| event_time(event))?;
    let message = event.message.as_deref();
    let advice = if message.is_some_and(|message| message.contains("Multi-Attach")) {
        "The volume is still attached to another node. The session starts by itself once it is detached there."
    } else {
        "Check STORAGE_CLASS and the cluster's storage."
    };
    let what = with_detail("The session's volume can't be created or attached", message);
    Some(since_creation(pod, failure(FailureCode::VolumeUnavailable, &what, advice)))
}

/// A container that kubelet can't run: of any container, also those of the operator's patch. kubelet tries
/// again by itself, and often succeeds.
fn waiting_container(pod: &Pod) -> Option<Delay> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let what = all.into_iter().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        let what = match reason {
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => "can't be created",
            "CrashLoopBackOff" => "keeps crashing",
            _ if image_pull_of(container).is_some() => "has no image",
            _ => return None,
        };
        let detail = waiting.message.as_deref().or(Some(reason));
        Some(with_detail(&format!("The container {} {what}", container.name), detail))
    })?;
    let advice = "Check the image, the ConfigMap and the Secrets that the Pod names, and POD_PATCH_FILE.";
    // The time that the clone took does not count as a delay of the containers after it.
    let cloned = container(pod, "git-init")
        .and_then(|init| init.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    let failure = failure(FailureCode::BackendError, &what, advice);
    Some(match cloned {
        Some(cloned) => Delay { since: wall(cloned), failure },
        None => since_creation(pod, failure),
    })
}

/// Any recent warning of the cluster while no container has started.
fn warning(pod: &Pod, events: &[Event], now: SystemTime, max_age: Duration) -> Option<Delay> {
    let status = pod.status.as_ref();
    let statuses = status
        .iter()
        .flat_map(|status| status.init_container_statuses.iter().chain(&status.container_statuses).flatten());
    let mut states = statuses.filter_map(|container| container.state.as_ref());
    if states.any(|state| state.running.is_some() || state.terminated.is_some()) {
        return None;
    }
    created_at(pod)?;
    let is_recent = |event: &&Event| {
        let time = event_time(event).map(|at| wall(&Time(at)));
        time.is_some_and(|at| now.duration_since(at).map_or(true, |age| age < max_age))
    };
    let event = warnings(pod, events).filter(is_recent).max_by_key(|event| event_time(event))?;
    // `volume` reports these, and they are over once the volume is mounted.
    if matches!(event.reason.as_deref(), Some("FailedMount" | "FailedAttachVolume")) {
        return None;
    }
    let what = with_detail("The cluster can't start the Pod", event.message.as_deref());
    let advice =
        "See the Pod's Events (kubectl describe pod). The session starts by itself once the cause is fixed.";
    Some(since_creation(pod, failure(FailureCode::BackendError, &what, advice)))
}

/// Returns the warnings since the Pod was created.
fn warnings<'a>(pod: &Pod, events: &'a [Event]) -> impl Iterator<Item = &'a Event> {
    let created = pod.metadata.creation_timestamp.as_ref().map(|at| at.0);
    let is_warning = |event: &&Event| event.type_.as_deref() == Some("Warning");
    events.iter().filter(is_warning).filter(move |event| event_time(event) >= created)
}

/// Returns the claim's phase: `Pending`, `Bound` or `Lost`.
pub(super) fn pvc_phase(pvc: &PersistentVolumeClaim) -> Option<&str> {
    pvc.status.as_ref()?.phase.as_deref()
}

fn since_creation(pod: &Pod, failure: Failure) -> Delay {
    Delay { since: created_at(pod).unwrap_or(SystemTime::UNIX_EPOCH), failure }
}

fn failure(code: FailureCode, message: &str, advice: &str) -> Failure {
    let message = format!("{}.", message.trim_end_matches('.'));
    Failure { code, message, advice: advice.to_owned(), log_tail: None }
}

fn with_detail(what: &str, detail: Option<&str>) -> String {
    match detail.filter(|detail| !detail.is_empty()) {
        Some(detail) => format!("{what}: {detail}"),
        None => what.to_owned(),
    }
}
