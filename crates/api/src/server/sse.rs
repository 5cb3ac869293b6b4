//! Event streams (server-sent events).
//!
//! Each event holds the whole current state, so the first event after a reconnect holds all that the client
//! missed, and event ids are not needed to resume. One id has a meaning: the last event of a session's stream
//! has the id `end`. A browser's `EventSource` reconnects by itself with `Last-Event-ID: end`; the answer 204
//! stops it.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;

use super::{
    error::{CommonErrors, ErrorResponse, SessionErrors},
    extract::{Caller, SessionPath},
    progress::EventQueue,
    state::ApiState,
};
use crate::wire::{SessionEvent, SessionList};

/// A comment is sent after this long without an event, so that no proxy closes the stream as idle.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a browser waits before it reconnects.
const RETRY: Duration = Duration::from_secs(1);
/// The id of a session's last event.
const END: &str = "end";

/// Watch the caller's sessions
///
/// Server-sent events of type `sessions`: one at once, and one after every change. The data of each is the
/// whole list, so there is nothing to resume after a reconnect.
#[utoipa::path(get, path = "/sessions/stream", operation_id = "streamSessions", tag = "sessions",
    responses(
        (status = 200, description = "`event: sessions`, `data: SessionList`", body = SessionList,
            content_type = "text/event-stream"),
        CommonErrors))]
pub(super) async fn stream(State(api): State<ApiState>, Caller(caller): Caller) -> Response {
    // Subscribed before the first list is made, so that no change in between is missed.
    let changes = api.manager.subscribe(&caller);
    let shutdown = api.shutdown.clone().cancelled_owned();
    let lists = stream::unfold(
        (api, caller, changes, None::<SessionList>),
        |(api, caller, mut changes, sent)| async move {
            loop {
                let list = api.session_list(&caller);
                if sent.as_ref() != Some(&list) {
                    return Some((event("sessions", &list), (api, caller, changes, Some(list))));
                }
                changes.changed().await;
            }
        },
    );
    sse(lists.take_until(shutdown))
}

/// Watch the start of a session
///
/// Server-sent events. `progress`: the current stage and all stages. `state_change`: the new state. Then one
/// of `complete` (the session runs; go to `url`) and `error` (it failed, or was stopped or deleted), after
/// which the stream ends. The first events report the current state. The data of each event is a
/// `SessionEvent`.
#[utoipa::path(get, path = "/sessions/{hash}/events", operation_id = "watchSession", tag = "sessions",
    params(
        SessionPath,
        ("last-event-id" = Option<String>, Header,
            description = "`end` after the last event: the answer 204 stops an EventSource's reconnects")),
    responses(
        (status = 200,
            description = "`event: progress | state_change | complete | error`, `data: SessionEvent`",
            body = SessionEvent, content_type = "text/event-stream"),
        (status = 204, description = "The stream has ended"),
        SessionErrors))]
pub(super) async fn events(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    SessionPath(hash): SessionPath,
    headers: HeaderMap,
) -> Result<Response, ErrorResponse> {
    let changes = api.manager.subscribe(&caller);
    let shutdown = api.shutdown.clone().cancelled_owned();
    if api.manager.get(&caller, hash).is_none() {
        return Err(ErrorResponse::no_such_session());
    }
    if headers.get("last-event-id").is_some_and(|id| id == END) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let events = stream::unfold(
        (api, caller, changes, EventQueue::default()),
        move |(api, caller, mut changes, mut queue)| async move {
            loop {
                if let Some(event) = queue.pop() {
                    return Some((session_event(&event), (api, caller, changes, queue)));
                }
                if queue.has_ended() {
                    return None;
                }
                queue.update(api.manager.get(&caller, hash).map(|view| api.session(&view)));
                if queue.is_waiting() {
                    changes.changed().await;
                }
            }
        },
    );
    Ok(sse(events.take_until(shutdown)))
}

fn session_event(data: &SessionEvent) -> Event {
    let event = event(data.name(), data);
    if data.is_last() { event.id(END) } else { event }
}

pub(super) fn event(name: &str, data: &impl Serialize) -> Event {
    // Wire types are made of strings, numbers and lists: they always have a JSON form.
    let json = serde_json::to_string(data).unwrap_or_default();
    Event::default().event(name).retry(RETRY).data(json)
}

pub(super) fn sse(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let body = Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    // Without this header, nginx and compatible proxies buffer the answer.
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    ([unbuffered], body).into_response()
}
