//! The latest messages of a session, as an event stream.

use std::{collections::VecDeque, time::Duration};

use axum::{
    extract::State,
    response::{Response, sse::Event},
};
use futures_util::{StreamExt, stream};
use pod_manager::{Subscription, ThreadSubscription, ThreadUpdate};
use session_key::{Identity, SessionHash};
use tokio::time::{Instant, sleep_until};

use super::{
    error::{ErrorResponse, StreamErrors},
    extract::{Caller, SessionPath},
    sse::{event, sse},
    state::ApiState,
    stream_limit::Permit,
};
use crate::{view, wire};

/// The shortest time between two updates. What comes in between is one update.
const INTERVAL: Duration = Duration::from_millis(250);

/// Watch the latest messages of a session
///
/// Server-sent events. `snapshot`, at once and whenever the whole changes (another conversation, a title, a
/// removal): a `Thread`. `message`: a new `ThreadMessage`, or one that has more text; it replaces the one
/// with the same `partID`. Updates are at least 250 ms apart. A reconnect begins with a snapshot, so there
/// is nothing to resume. The stream ends when the session is deleted.
#[utoipa::path(get, path = "/sessions/{hash}/progress/stream", operation_id = "watchMessages",
    tag = "sessions", params(SessionPath),
    responses(
        (status = 200, description = "`event: snapshot`, `data: Thread`; `event: message`, `data: ThreadMessage`",
            body = wire::Thread, content_type = "text/event-stream"),
        StreamErrors))]
pub(super) async fn stream(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    SessionPath(hash): SessionPath,
) -> Result<Response, ErrorResponse> {
    let changes = api.manager.subscribe(&caller);
    let messages = api.manager.messages(&caller, hash).ok_or_else(ErrorResponse::no_such_session)?;
    let permit = api.message_streams.acquire(&caller).ok_or_else(ErrorResponse::too_many_streams)?;
    let shutdown = api.shutdown.clone().cancelled_owned();
    let viewer = Viewer {
        api,
        caller,
        hash,
        messages,
        changes,
        due: Instant::now(),
        ready: VecDeque::new(),
        _permit: permit,
    };
    let events = stream::unfold(viewer, |mut viewer| async { Some((viewer.next().await?, viewer)) });
    Ok(sse(events.take_until(shutdown)))
}

struct Viewer {
    api: ApiState,
    caller: Identity,
    hash: SessionHash,
    messages: ThreadSubscription,
    changes: Subscription,
    /// When the next update may be sent.
    due: Instant,
    ready: VecDeque<Event>,
    _permit: Permit,
}

impl Viewer {
    /// Returns the next event; `None` once the session is gone. Nothing is prepared before the last events
    /// were sent, so nothing piles up for a slow viewer.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            sleep_until(self.due).await;
            self.api.manager.get(&self.caller, self.hash)?;
            match self.messages.update() {
                Some(update) => {
                    self.due = Instant::now() + INTERVAL;
                    self.ready = events(update);
                }
                None => tokio::select! {
                    () = self.messages.changed() => {}
                    () = self.changes.changed() => {}
                },
            }
        }
    }
}

fn events(update: ThreadUpdate) -> VecDeque<Event> {
    match update {
        ThreadUpdate::Snapshot { title, messages } => {
            let messages = messages.into_iter().map(view::message).collect();
            VecDeque::from([event("snapshot", &wire::Thread { title, messages })])
        }
        ThreadUpdate::Messages(messages) => {
            messages.into_iter().map(|message| event("message", &view::message(message))).collect()
        }
    }
}
