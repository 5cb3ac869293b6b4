//! Reads single fields of Pods and Events.

use std::time::SystemTime;

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Event, Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};

pub(crate) fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    all.into_iter().find(|container| container.name == name)
}

pub(crate) fn condition<'a>(pod: &'a Pod, name: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == name)
}

pub(crate) fn event_time(event: &Event) -> Option<jiff::Timestamp> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|at| at.0);
    let micro = event.event_time.as_ref().map(|at| at.0);
    series.or(event.last_timestamp.as_ref().map(|at| at.0)).or(micro)
}

pub(crate) fn wall(at: &Time) -> SystemTime {
    at.0.into()
}
