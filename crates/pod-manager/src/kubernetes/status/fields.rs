//! Reads single fields of Pods and Events.

use std::time::SystemTime;

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Event, Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};

/// Returns the status of the container with this name.
pub(crate) fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    all.into_iter().find(|container| container.name == name)
}

/// Returns the Pod's condition of this type.
pub(crate) fn condition<'a>(pod: &'a Pod, name: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == name)
}

/// Returns whether the Pod's condition of this type is true.
pub(crate) fn is_true(pod: &Pod, name: &str) -> bool {
    condition(pod, name).is_some_and(|condition| condition.status == "True")
}

/// Returns when the Event was seen last.
pub(crate) fn event_time(event: &Event) -> Option<jiff::Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|at| at.0);
    let micro = event.event_time.as_ref().map(|at| at.0);
    series.or(event.last_timestamp.as_ref().map(|at| at.0)).or(micro)
}

/// Returns the time as wall time.
pub(crate) fn wall(at: &Time) -> SystemTime {
    at.0.into()
}

/// Returns when the Pod was created.
pub(crate) fn created_at(pod: &Pod) -> Option<SystemTime> {
    pod.metadata.creation_timestamp.as_ref().map(wall)
}
