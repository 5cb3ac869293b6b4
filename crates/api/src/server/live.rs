//! What is pushed: server-sent events.
//!
//! Each event holds the whole present state, so a client that was cut off has missed nothing that
//! the first event after its reconnect does not tell: there is nothing to resume from, and `id` is
//! used for one thing only. The last event of a session's stream has the id `end`; a browser's
//! `EventSource` reconnects by itself with `Last-Event-ID: end`, and is told by 204 to leave it.

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
    ApiState,
    error::{Always, OfOne, Refusal},
    extract::{Caller, Named},
    progress::Told,
};
use crate::wire::{SessionEvent, SessionList};

/// A comment is sent after this long without an event, so that nothing in between takes the stream for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a browser waits before it reconnects.
const RETRY: Duration = Duration::from_secs(1);
/// The id of a session's last event.
const END: &str = "end";

/// The caller's sessions, on every change
///
/// Server-sent events of type `sessions`; the data of each is the whole list, the first at once.
/// After a reconnect the first event is the present list, so there is nothing to resume from.
#[utoipa::path(get, path = "/sessions/stream", operation_id = "streamSessions", tag = "sessions",
    responses(
        (status = 200, description = "`event: sessions`, `data: SessionList`", body = SessionList, content_type = "text/event-stream"),
        Always))]
pub(super) async fn stream(State(api): State<ApiState>, Caller(who): Caller) -> Response {
    // Subscribed before the first list is made: what changes in between is told afterwards.
    let changes = api.manager.subscribe(&who);
    let ends = api.ends.clone().cancelled_owned();
    let lists = stream::unfold(
        (api, who, changes, None::<SessionList>),
        |(api, who, mut changes, told)| async move {
            loop {
                let list = api.session_list(&who);
                if told.as_ref() != Some(&list) {
                    let event = event("sessions", &list);
                    return Some((event, (api, who, changes, Some(list))));
                }
                changes.changed().await;
            }
        },
    );
    sse(lists.take_until(ends))
}

/// How a session's start goes
///
/// Server-sent events. `progress`: the stage under way and all stages; `state_change`; then one of
/// `complete` (it runs; go to `url`) and `error` (it failed, or was stopped or deleted), after which
/// the stream ends. The first events tell the present state. The data of each is a `SessionEvent`.
#[utoipa::path(get, path = "/sessions/{hash}/events", operation_id = "watchSession", tag = "sessions",
    params(
        ("hash" = String, Path, description = "The session's key"),
        ("last-event-id" = Option<String>, Header, description = "`end` after the last event: answered by 204, which ends an EventSource's reconnects")),
    responses(
        (status = 200, description = "`event: progress | state_change | complete | error`, `data: SessionEvent`", body = SessionEvent, content_type = "text/event-stream"),
        (status = 204, description = "The stream had come to its end"),
        OfOne))]
pub(super) async fn events(
    State(api): State<ApiState>,
    Caller(who): Caller,
    Named(hash): Named,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let changes = api.manager.subscribe(&who);
    let ends = api.ends.clone().cancelled_owned();
    if api.manager.get(&who, hash).is_none() {
        return Err(Refusal::no_such_session());
    }
    if headers.get("last-event-id").is_some_and(|id| id == END) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let told = stream::unfold(
        (api, who, changes, Told::default()),
        move |(api, who, mut changes, mut told)| async move {
            loop {
                if let Some(event) = told.next() {
                    return Some((named(&event), (api, who, changes, told)));
                }
                if told.ended() {
                    return None;
                }
                told.see(api.manager.get(&who, hash).map(|view| api.session(&view)));
                if told.nothing_new() {
                    changes.changed().await;
                }
            }
        },
    );
    Ok(sse(told.take_until(ends)))
}

fn named(told: &SessionEvent) -> Event {
    let event = event(told.name(), told);
    if told.is_last() { event.id(END) } else { event }
}

fn event(name: &str, data: &impl Serialize) -> Event {
    // Wire types are made of strings, numbers and lists: they always have a JSON form.
    let json = serde_json::to_string(data).unwrap_or_default();
    Event::default().event(name).retry(RETRY).data(json)
}

fn sse(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let body = Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    // nginx and those who follow it hold answers back unless told otherwise.
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    ([unbuffered], body).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{body::Body, http::Request};
    use pod_manager::{AlwaysLeader, Manager, ManagerSettings, ManualClock, MemoryBackend};
    use session_key::{HostScheme, Identity, RepoPolicy};
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt;

    use super::super::{ApiState, Settings, router};
    use super::{HEARTBEAT, StreamExt};

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_events_has_a_heartbeat() {
        let clock = Arc::new(ManualClock::default());
        let manager = Manager::new(
            MemoryBackend::new(clock.clone()),
            Arc::new(AlwaysLeader),
            clock,
            ManagerSettings::default(),
        );
        let settings = Settings {
            scheme: HostScheme::new("localhost:3000", "", "attach-").expect("a scheme"),
            proto: "http".to_owned(),
            repos: RepoPolicy::default(),
            default_repo: None,
            version: String::new(),
        };
        let (routes, _) = router(ApiState::new(manager, settings, CancellationToken::new()));
        let who = Identity::parse("alice@example.com").expect("an address");
        let request =
            Request::get("/api/sessions/stream").extension(who).body(Body::empty()).expect("a request");
        let mut body = routes.oneshot(request).await.expect("an answer").into_body().into_data_stream();
        let first = body.next().await.expect("an event").expect("bytes");
        assert!(first.starts_with(b"event: sessions"), "{first:?}");
        for _ in 0..3 {
            let before = Instant::now();
            let beat = body.next().await.expect("a heartbeat").expect("bytes");
            assert_eq!(&beat[..], b":\n\n");
            assert_eq!(before.elapsed(), HEARTBEAT);
        }
    }
}
